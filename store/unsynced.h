// What was written without fsync and has not been proven since: a blob whose file has its write
// permission still. A build leaves its layers like that until it is done and then syncs them
// together, which costs one commit of the file system's journal and no waiting between the steps;
// IMG_DURABILITY=fast never syncs. While its boot lasts such a blob is as good as any, the page
// cache has it; after another boot its bytes are read once before anybody relies on them (boot.h;
// reliability.md G2, R-2). The permission lies in the blob's own inode, so it is there whenever the
// blob is: no clock and no list that could be lost is needed. locks/fast, which holds a boot id,
// tells whether anything of that kind is there at all.
#pragma once

#include <sys/stat.h>

#include <optional>
#include <string>
#include <vector>

#include "store/layout.h"
#include "store/oci.h"

namespace img::store {

// What a boot may have left behind that is not on the disk: blobs that no durable name leads to,
// or, with IMG_DURABILITY=fast, names, and index.json itself, as well.
enum class Unsynced { blobs, names };

struct UnsyncedMark {
  std::string boot;  // empty when the power went before it was written
  Unsynced what = Unsynced::names;
};
std::optional<UnsyncedMark> readUnsyncedMark(const Layout& layout);
bool isUnsynced(const struct stat& blob);

// To be called before the first byte that is not synced gets its name. Durable itself, once in each
// boot, unless IMG_DURABILITY=fast.
void noteUnsynced(const Layout& layout, Unsynced what);
// There is nothing any more that was not synced: the caller, who holds locks/boot, has looked.
void forgetUnsynced(const Layout& layout);

// The index.json that was synced last before unsynced names were stored; nullopt: none were.
std::optional<std::string> syncedIndex(const Layout& layout);

// A blob that this process, or a child that has just ended, wrote without fsync. It is kept open
// until it is synced: the kernel forgets that writing has failed when nobody has the file open.
void holdUnsynced(const Layout& layout, const Digest& digest);
// Whether this process has any such blob, of whatever store.
bool holdsUnsynced();

// Before images get a name that lasts: makes those of their blobs durable that are not, whoever has
// made them. One that this process did not hold is read as well. Throws when a blob is not there,
// and what went wrong with the first one that the disk did not take; such blobs are removed, so
// that nothing is made of them again (reliability.md 3: errors of fsync are final).
// What else is held is synced along with them: a later boot would have to read it.
void settleUnsynced(const Layout& layout, const std::vector<Descriptor>& images);
// All that is still held, for who is going to tell of an error of his own, or has no name to store:
// trouble is only logged.
void settleHeld(const Layout& layout) noexcept;

}  // namespace img::store
