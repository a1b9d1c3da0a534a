#include "store/id_mapping.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <linux/mount.h>
#include <sys/fsuid.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/error.h"
#include "base/sys.h"

namespace img::store {

Fd cloneMapped(int folder, int userNamespace) {
  Fd clone = sys::openTree(folder, "", OPEN_TREE_CLONE | AT_EMPTY_PATH);
  sys::mountSetattr(clone.get(), "", 0, 0, 0, MS_PRIVATE);
  try {
    sys::mountSetattrIdmap(clone.get(), userNamespace);
  } catch (const Error& error) {
    Error told = Error{Kind::unsupported, "cannot map the owners of the image's files"};
    told.code("idmap").why(error.cause());
    if (error.errnum() == EPERM) {
      throw told.hint("only root can give containers other ids than its own");
    }
    throw told.hint(
        "the store's file system has to support ID-mapped mounts (ext4, xfs, btrfs; Linux 5.19)");
  }
  return clone;
}

MountingAsRootOf::MountingAsRootOf(int mapped) {
  const struct stat root = sys::fstat(mapped);
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct data[2] = {};
  sys::check([&] { return ::syscall(SYS_capget, &header, data); }, "read capabilities");
  gid_ = ::setfsgid(root.st_gid);
  uid_ = ::setfsuid(root.st_uid);  // drops the capabilities that are about files: setfsuid(2)
  sys::check([&] { return ::syscall(SYS_capset, &header, data); }, "keep capabilities");
}

MountingAsRootOf::~MountingAsRootOf() {
  ::setfsuid(static_cast<uid_t>(uid_));
  ::setfsgid(static_cast<gid_t>(gid_));
}

}  // namespace img::store
