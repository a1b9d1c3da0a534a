// A container's read-write layer to an image: only `upper/`, never the init layer, volumes or
// mounts (cli.md 11). Of a mount the empty place that it was on is there, as with docker. The
// caller has frozen the container's processes, if any.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "store/containers.h"
#include "store/images.h"

namespace img::store {

struct CommitRequest {
  std::string author, message;
  ImageConfig config;  // the image's config with changes applied, diffIds and history of the parent
  std::vector<std::string> names;     // full form
  bool squash = false;                // one layer with all files, those of the image as well
  std::optional<std::int64_t> epoch;  // SOURCE_DATE_EPOCH: created and later file times become this
};

Image commitContainer(const Layout& layout, const ContainerRecord& container,
                      const CommitRequest& request);

}  // namespace img::store
