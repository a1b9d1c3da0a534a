// Who owns the files of a layer. In a user namespace that lacks an id (a user without subordinate
// ids has one) chown(2) fails with EINVAL; the owner is then recorded instead, and the layer's tar
// carries it all the same, so that images come out as they do for root (security.md U1). Recorded
// is in the attribute user.img.owner of a file or folder, "UID:GID"; links and nodes can have none,
// so theirs are in user.img.owners of their folder, a line "INODE:UID:GID" each. Both never travel
// in a layer and are believed only in a user namespace.
#pragma once

#include <sys/stat.h>

#include <string>
#include <string_view>

namespace img::store {

// Whether this process reads and writes records: it is in a user namespace.
bool recordsOwners();

// Sets the owner, else records it; an older record goes. `name` is a link or node in `dir`, or
// anything else there.
void giveFile(int fd, uid_t uid, gid_t gid);
void giveEntry(int dir, const std::string& name, uid_t uid, gid_t gid);

// Puts a recorded owner in the place of the real one.
void applyOwner(int fd, struct stat& st);
void applyOwnerAt(int dir, const std::string& name, struct stat& st);

bool isOwnerXattr(std::string_view name);

}  // namespace img::store
