// What was written without fsync (IMG_DURABILITY=fast) and has not been proven since: a blob whose
// file has its write permission still. While its boot lasts it is as good as any, the page cache
// has it; after another boot its bytes are read once before anybody relies on them (reliability.md
// G2, R-2). The permission lies in the blob's own inode, so it is there whenever the blob is: no
// clock and no list that could be lost is needed. locks/fast, which holds a boot id, tells whether
// anything of that kind is there at all.
#pragma once

#include "store/layout.h"
#include "store/oci.h"

namespace img::store {

// To be called before the first byte that is not synced gets its name.
void noteUnsynced(const Layout& layout);

// After a boot other than that of locks/fast: blobs that turn out damaged go, then every name that
// does not lead to a whole image, and a damaged index.json becomes the last one that was synced.
// Costs one open(2) when nothing was written like that.
void checkAfterBoot(const Layout& layout);

// A command whose result is to last uses what one without fsync has made: its blobs are made
// durable. True: so has to be index.json, whatever it says already.
bool settleUnsynced(const Layout& layout, const Descriptor& image);

}  // namespace img::store
