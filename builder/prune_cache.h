// `builder prune`: what goes of the build cache on request. Step records with the layers that only
// they keep; with `all` also what would have been of use to images that are there, inputs, digests
// of context files, downloads, logs and the folders of cache mounts. What a running build uses is
// locked, or leased, and stays.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "store/layout.h"

namespace img::builder {

struct CachePrune {
  bool all = false;
  bool isDryRun = false;
  std::optional<std::uint64_t> keepBytes;  // stop when this much of the cache is left
  std::optional<std::int64_t> before;      // last used before that time, seconds
  std::vector<std::string> ids;            // beginnings of keys; none: every one
};

struct PrunedCache {
  std::vector<std::string> removed;  // keys of steps; "mount ID", "http", ... of the rest
  std::uint64_t bytes = 0;           // allocated
};

PrunedCache pruneCache(const store::Layout& layout, const CachePrune& prune);

}  // namespace img::builder
