// Mounting an index over its archive (erofs_image.h) straight from the two files, without loop
// devices: Linux 6.12, CONFIG_EROFS_FS_BACKED_BY_FILE. The mount is detached: nobody sees it, and
// it goes with its last descriptor, of a process or of a union that has taken it in.
#pragma once

#include <optional>
#include <string>

#include "base/fd.h"

namespace img::store {

// A read-only detached mount; the descriptor is of its root. Both files may be O_PATH.
Fd mountErofs(int index, int archive);

// Whether this process may mount file systems that are not made for user namespaces: CAP_SYS_ADMIN
// in the machine's own user namespace.
bool mayMountErofs();

// Tries all that the view needs, with files made in `folder`: the mount itself, a clone of it, and
// a union with it as a lower folder (overlayfs takes detached ones since Linux 6.15). Why not, or
// nothing.
std::optional<std::string> whyErofsFails(int folder);

}  // namespace img::store
