#include "runtime/mounts.h"

#include <fcntl.h>
#include <linux/mount.h>
#include <sys/mount.h>

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

Fd prepareMount(const Mount& mount) {
  const std::uint64_t attributes = mount.attributes | (mount.readOnly ? MOUNT_ATTR_RDONLY : 0);
  if (mount.type == Mount::Type::tmpfs) {
    std::vector<MountOption> options = parseMountOptions(mount.tmpfsOptions);
    options.push_back({"source", "tmpfs"});
    return makeMount("tmpfs", static_cast<unsigned>(attributes), options);
  }
  // Attributes come with the clone, in the container's own namespace (rootfs.cc).
  if (mount.type == Mount::Type::detached) return mount.source.duplicate();
  Fd tree = cloneMount(mount.source.get(), "", true);
  // Private before it is attached: a clone of a shared mount is a peer of the host's (security.md
  // N2). Read-only for the whole tree, mounts below included (N8).
  sys::mountSetattr(tree.get(), "", AT_RECURSIVE, attributes, 0, MS_PRIVATE);
  return tree;
}

}  // namespace

std::vector<Fd> prepareMounts(const std::vector<Mount>& mounts) {
  std::vector<Fd> trees;
  for (const Mount& mount : mounts) {
    try {
      trees.push_back(prepareMount(mount));
    } catch (Error& error) {
      error.during("preparing the mount for {}", mount.target);
      throw;
    }
  }
  return trees;
}

}  // namespace img::runtime
