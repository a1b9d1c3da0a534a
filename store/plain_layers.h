// Views of layers whose blob is their tar, made ahead of the first run where that is cheap:
// where the store's views are EROFS indexes.
#pragma once

#include <set>

#include "base/digest.h"
#include "store/layout.h"

namespace img::store {

// Their blobs are in the store, and were verified. For single-threaded processes only.
void indexPlainLayers(const Layout& layout, const std::set<Digest>& diffIds);

}  // namespace img::store
