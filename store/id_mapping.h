// Folders seen through the ids of a user namespace: who is 0 on the disk is root of the namespace
// (mount_setattr(2), "ID-mapped mounts"). overlayfs itself cannot be mapped; its layers can since
// Linux 5.19, so containers with ids of their own share layers unchanged, and what they write lies
// in their upper with the ids that it has inside.
#pragma once

#include "base/fd.h"

namespace img::store {

// `userNamespace` < 0: no mapping. `folder` holds "upper" and "work", which overlayfs wants on one
// mount.
struct IdMapping {
  int userNamespace = -1;
  int folder = -1;
  [[nodiscard]] bool isUsed() const { return userNamespace >= 0; }
};

// A detached, mapped clone of one folder. Throws Kind::unsupported, code "idmap", when its file
// system or the kernel cannot.
Fd cloneMapped(int folder, int userNamespace);

// For the time of a mount(2): this thread makes files as root of the namespace, and keeps its
// capabilities. overlayfs works in the upper as whoever mounted it (overlayfs.rst, "Permission
// model"), and to the mapped upper the machine's root is nobody. `mapped` is a clone of a folder
// that belongs to root on the disk.
class [[nodiscard]] MountingAsRootOf {
 public:
  explicit MountingAsRootOf(int mapped);
  MountingAsRootOf(const MountingAsRootOf&) = delete;
  MountingAsRootOf& operator=(const MountingAsRootOf&) = delete;
  MountingAsRootOf(MountingAsRootOf&&) = delete;
  MountingAsRootOf& operator=(MountingAsRootOf&&) = delete;
  ~MountingAsRootOf();

 private:
  int uid_, gid_;
};

}  // namespace img::store
