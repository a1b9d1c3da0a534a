// Garbage: blobs and layers that nothing needs. Roots are index.json, container records (image id
// and diff IDs) and the build cache (cache/steps/*, in "record": "layer", a descriptor, and
// "diff_id"), so that `rmi` frees an image's documents and what only it used, and the next build
// still hits. Marking and the rename into trash/ happen under locks/gc taken exclusively
// (reliability.md 4); unlinking happens after it is free again.
#pragma once

#include "store/images.h"
#include "store/layout.h"

namespace img::store {

Images::Freed collectGarbage(const Layout& layout);

}  // namespace img::store
