// A step of a build as --cache-to and inline records see it.
#pragma once

#include <optional>
#include <string>

#include "builder/cache.h"

namespace img::builder {

struct ExportedStep {
  LayerRef layer;
  StepKeys known;
  std::optional<Digest> content;  // the key by the diff IDs below
  Digest state;
  std::string instruction;
};

}  // namespace img::builder
