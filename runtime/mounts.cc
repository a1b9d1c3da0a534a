#include "runtime/mounts.h"

#include <fcntl.h>
#include <linux/mount.h>
#include <sys/mount.h>

#include "base/log.h"
#include "base/sys.h"
#include "base/text.h"

namespace img::runtime {

Fd makeMount(const std::string& type, unsigned attributes,
             const std::vector<MountOption>& options) {
  const Fd context = sys::fsopen(type);
  for (const MountOption& option : options) {
    if (option.value.empty()) {
      sys::fsconfigFlag(context.get(), option.key);
    } else {
      sys::fsconfigString(context.get(), option.key, option.value);
    }
  }
  sys::fsconfigCreate(context.get(), type);
  return sys::fsmount(context.get(), attributes);
}

Fd cloneMount(int dir, const std::string& path, bool isRecursive) {
  unsigned flags = OPEN_TREE_CLONE | AT_SYMLINK_NOFOLLOW;
  if (isRecursive) flags |= AT_RECURSIVE;
  return sys::openTree(dir, path, flags);
}

std::vector<MountOption> parseMountOptions(std::string_view options) {
  std::vector<MountOption> parsed;
  if (options.empty()) return parsed;
  for (const std::string& word : text::split(options, ',')) {
    const size_t equals = word.find('=');
    if (equals == std::string::npos) {
      parsed.push_back({word, ""});
    } else {
      parsed.push_back({word.substr(0, equals), word.substr(equals + 1)});
    }
  }
  return parsed;
}

namespace {

std::uint64_t attributesOf(const Mount& mount) {
  return mount.attributes | (mount.readOnly ? MOUNT_ATTR_RDONLY : 0);
}

// The kernel refuses it for file systems that cannot (EINVAL), and for those that belong to another
// user namespace than the caller's (EPERM). Their files then show the owners that they have
// outside.
void tryIdmap(const Fd& tree, const Mount& mount, int userNamespace) {
  try {
    sys::mountSetattrIdmap(tree.get(), userNamespace);
  } catch (const Error& error) {
    if (error.errnum() != EINVAL && error.errnum() != EPERM && error.errnum() != EOPNOTSUPP) throw;
    log::info("the mount on {} keeps its owners: its file system cannot map ids", mount.target);
  }
}

Fd prepareMount(const Mount& mount, int userNamespace) {
  const std::uint64_t attributes = attributesOf(mount);
  if (mount.type == Mount::Type::tmpfs) return userNamespace < 0 ? makeTmpfs(mount) : Fd{};
  // Attributes come with the clone, in the container's own namespace (rootfs.cc).
  if (mount.type == Mount::Type::detached) return mount.source.duplicate();
  Fd tree = cloneMount(mount.source.get(), "", mount.isRecursive);
  // Private before it is attached: a clone of a shared mount is a peer of the host's (security.md
  // N2). Read-only for the whole tree, mounts below included (N8).
  static_assert(Mount::kPrivate == MS_PRIVATE);
  sys::mountSetattr(tree.get(), "", AT_RECURSIVE, attributes, 0, mount.propagation);
  if (userNamespace >= 0) tryIdmap(tree, mount, userNamespace);
  return tree;
}

}  // namespace

Fd makeTmpfs(const Mount& mount) {
  std::vector<MountOption> options = parseMountOptions(mount.tmpfsOptions);
  options.push_back({"source", "tmpfs"});
  return makeMount("tmpfs", static_cast<unsigned>(attributesOf(mount)), options);
}

std::vector<Fd> prepareMounts(const std::vector<Mount>& mounts, int userNamespace) {
  std::vector<Fd> trees;
  for (const Mount& mount : mounts) {
    try {
      trees.push_back(prepareMount(mount, userNamespace));
    } catch (Error& error) {
      error.during("preparing the mount for {}", mount.target);
      throw;
    }
  }
  return trees;
}

}  // namespace img::runtime
