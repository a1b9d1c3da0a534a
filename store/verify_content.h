// The part of a check that reads bytes: every blob once, a layer's blob together with the unpacked
// layer beside it. Works in forked children; what they find comes back as values.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "store/layout.h"
#include "store/verify_catalog.h"

namespace img::store {

struct ContentFinding {
  enum class About { blob, layer, diffId };
  About about = About::blob;
  Digest digest;     // of the blob or, for a view, the diff ID
  std::string path;  // in the view
  std::string problem;
};

struct ContentWork {
  std::vector<Digest> blobs;      // of which only the digest is asked
  std::vector<LayerNeed> layers;  // whose blobs are there; not among `blobs`
};

std::vector<ContentFinding> checkContents(const Layout& layout, const ContentWork& work);

}  // namespace img::store
