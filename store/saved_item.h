// What one name stands for on its way into an archive: an image of one platform, or an index with
// what the store has of it; as it is stored, or with its plain layers compressed.
#pragma once

#include "store/archive.h"

namespace img::store {

// `item.image` becomes one image of the index, `others` the rest of those that are here. What the
// index names and the store lacks (other platforms, attestations) is left out of the archive, too:
// the index keeps its digest. Throws Kind::notFound when there is nothing at all.
void addIndex(const Layout& layout, const Descriptor& index, SaveItem& item);

// gzip for every plain layer: manifests and index are written anew, the image ids stay. The same
// bytes every time. The caller has a StoreUse.
void compressItem(const Layout& layout, SaveItem& item);

}  // namespace img::store
