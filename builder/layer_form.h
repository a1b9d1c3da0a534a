// The layers of a finished image in another form: several as one, with other file times,
// compressed. What was made once is found again by a record in the build cache, so that a rebuild
// gives the same layers without reading them. Forks; for single-threaded processes.
#pragma once

#include <optional>
#include <vector>

#include "builder/output.h"
#include "builder/snapshot.h"
#include "store/layout.h"

namespace img::builder {

// What file times become while layers are written anew.
struct TimeRule {
  std::optional<std::int64_t> clamp;  // later ones become this
  std::optional<std::int64_t> set;    // all become this
};

// The one layer over `below` (bottom first) that has the effect of `layers`: deletions of what
// `below` has become whiteouts, what was deleted in between is gone, hard links are kept.
LayerRef squashLayers(const store::Layout& layout, const std::vector<LayerRef>& below,
                      const std::vector<LayerRef>& layers, const TimeRule& times);

// The layers with other file times, but for those of the base (the first `baseCount`).
std::vector<LayerRef> rewriteTimes(const store::Layout& layout, const std::vector<LayerRef>& layers,
                                   size_t baseCount, const TimeRule& times);

// Layers compressed as wanted, several at a time; those of the base only when it is forced.
std::vector<LayerRef> compressLayers(const store::Layout& layout,
                                     const std::vector<LayerRef>& layers, size_t baseCount,
                                     const LayerCompression& wanted);

}  // namespace img::builder
