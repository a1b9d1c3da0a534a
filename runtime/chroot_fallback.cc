#include "runtime/chroot_fallback.h"

#include <fcntl.h>
#include <linux/mount.h>
#include <sys/mount.h>

#include <set>
#include <string>
#include <vector>

#include "base/environment.h"
#include "base/fs.h"
#include "base/sys.h"
#include "base/text.h"
#include "runtime/mounts.h"

namespace img::runtime {
namespace {

// A line of /proc/self/mountinfo (proc_pid_mountinfo(5)).
struct MountLine {
  std::string id, parent, point, type;
};

// The kernel writes blanks and backslashes of paths as \ooo.
std::string unescape(const std::string& text) {
  std::string plain;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '\\' || i + 3 >= text.size()) {
      plain += text[i];
      continue;
    }
    plain +=
        static_cast<char>((text[i + 1] - '0') * 64 + (text[i + 2] - '0') * 8 + text[i + 3] - '0');
    i += 3;
  }
  return plain;
}

// By the container's /proc, which is mounted by now: ours is covered (rootfs.cc, Scratch).
std::vector<MountLine> readMounts(int root) {
  std::vector<MountLine> mounts;
  for (const std::string& line : text::split(fs::readFile(root, "proc/self/mountinfo"), '\n')) {
    const std::vector<std::string> words = text::split(line, ' ');
    size_t separator = 6;
    while (separator < words.size() && words[separator] != "-") ++separator;
    if (separator + 1 >= words.size()) continue;
    mounts.push_back({words[0], words[1], unescape(words[4]), words[separator + 1]});
  }
  return mounts;
}

std::string mountIdOf(int root) {
  const std::string info =
      fs::readFile(root, fmt::format("proc/self/fdinfo/{}", root));  // "mnt_id:\t27"
  for (const std::string& line : text::split(info, '\n')) {
    if (line.starts_with("mnt_id:")) return std::string{text::trim(line.substr(7))};
  }
  throw Error{Kind::internal, "the kernel does not tell the id of a mount"};
}

// The mounts of the container, by their ids.
std::set<std::string> treeOf(const std::string& top, const std::vector<MountLine>& mounts) {
  std::set<std::string> tree{top};
  for (size_t before = 0; before != tree.size();) {
    before = tree.size();
    for (const MountLine& mount : mounts) {
      if (tree.contains(mount.parent)) tree.insert(mount.id);
    }
  }
  return tree;
}

void hide(const std::string& point) {
  try {
    sys::umount2(point, MNT_DETACH);
  } catch (const Error&) {
    // Locked together with its parent by a user namespace (mount_namespaces(7)).
    const Fd cover = makeMount("tmpfs", MOUNT_ATTR_RDONLY, {{"source", "img"}, {"mode", "0"}});
    sys::moveMount(cover.get(), AT_FDCWD, point);
  }
}

void hideKernelFileSystems(int root) {
  const std::vector<MountLine> mounts = readMounts(root);
  const std::set<std::string> own = treeOf(mountIdOf(root), mounts);
  // What lies on top comes last in the file and has to go first.
  for (auto mount = mounts.rbegin(); mount != mounts.rend(); ++mount) {
    if (own.contains(mount->id)) continue;
    const bool isOnKernelTree =
        mount->point.starts_with("/proc") || mount->point.starts_with("/sys");
    if (mount->type == "proc" || mount->type == "sysfs" || isOnKernelTree) hide(mount->point);
  }
}

}  // namespace

bool isChrootAsked() {
  const auto value = findVariable("IMG_NO_PIVOT_ROOT");
  return value && !value->empty() && *value != "0";
}

void enterByChroot(int root) {
  hideKernelFileSystems(root);
  sys::fchdir(root);
  sys::chroot(".");
}

}  // namespace img::runtime
