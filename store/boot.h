// The first command after another boot looks at what was written without fsync (unsynced.h).
#pragma once

#include "store/layout.h"

namespace img::store {

// After a boot other than that of the mark: blobs that turn out damaged go, then every name that
// does not lead to a whole image, and a damaged index.json becomes the last one that was synced.
// Costs one open(2) when nothing was written like that.
void checkAfterBoot(const Layout& layout);

}  // namespace img::store
