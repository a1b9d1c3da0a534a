// Paths inside a rootfs, walked component by component with descriptors: symbolic links are
// followed inside the root, also dangling ones, whose target is then created (dockerfile.md 3.8,
// "Destination"). Nothing is ever resolved against the host (security.md R1-R3): every step is one
// *at call on a single name.
#pragma once

#include <sys/stat.h>

#include <functional>
#include <optional>
#include <string>

#include "base/fd.h"

namespace img::builder {

// What a folder gets that is made on the way.
struct NewFolder {
  mode_t mode = 0755;
  uid_t uid = 0;
  gid_t gid = 0;
  std::optional<timespec> mtime;
};

// Where a path ends, links followed: the folder that holds it, its name there ("." for the root),
// and what is there.
struct Place {
  Fd parent;
  std::string name;
  std::optional<struct stat> st;  // nullopt: nothing
  [[nodiscard]] bool isFolder() const { return st && S_ISDIR(st->st_mode); }
};

// Missing folders on the way are made. Throws "{path} exists and is not a directory (it is a
// {type})".
Place resolvePlace(int root, const std::string& path, const NewFolder& missing);

// mkdir -p; returns the folder, readable.
Fd makeFolders(int root, const std::string& path, const NewFolder& missing);

// "file", "symbolic link", "FIFO", ... for messages.
std::string_view typeName(mode_t mode);
bool isSpecial(mode_t mode);  // a device, a pipe or a socket

}  // namespace img::builder
