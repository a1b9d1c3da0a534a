#include "runtime/devices.h"

#include <dirent.h>
#include <linux/capability.h>
#include <linux/magic.h>
#include <linux/mount.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>

#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "base/fs.h"
#include "base/sys.h"
#include "base/text.h"
#include "runtime/mounts.h"
#include "runtime/paths.h"

namespace img::runtime {
namespace {

struct Node {
  const char* name;
  unsigned major, minor;
};
// Linux Documentation/admin-guide/devices.txt
constexpr Node kNodes[] = {{"null", 1, 3},   {"zero", 1, 5},    {"full", 1, 7},
                           {"random", 1, 8}, {"urandom", 1, 9}, {"tty", 5, 0}};

struct Link {
  const char* name;
  const char* target;
};
constexpr Link kLinks[] = {{"fd", "/proc/self/fd"},       {"stdin", "/proc/self/fd/0"},
                           {"stdout", "/proc/self/fd/1"}, {"stderr", "/proc/self/fd/2"},
                           {"core", "/proc/kcore"},       {"ptmx", "pts/ptmx"}};

// Where nodes cannot be made (mknod(2) needs CAP_MKNOD on the machine itself), the host's are bound
// over empty files. That has to wait until the folder is attached: mounts below a detached one are
// refused before Linux 6.15.
struct Stand {
  Fd folder;
  std::string name;
  Fd node;  // the host's, checked
};
using Stands = std::vector<Stand>;

bool isNode(const struct stat& info, mode_t type, dev_t device) {
  return (info.st_mode & S_IFMT) == (type & S_IFMT) && info.st_rdev == device;
}

std::optional<Fd> findBelow(int folder, mode_t type, dev_t device, int depth) {
  for (const fs::Entry& entry : fs::list(folder)) {
    if (entry.type == DT_CHR || entry.type == DT_BLK) {
      auto node = sys::tryOpenat(folder, entry.name, O_PATH | O_NOFOLLOW);
      if (node && isNode(sys::fstat(node->get()), type, device)) return node;
    } else if (entry.type == DT_DIR && depth > 0) {
      const Fd inner{
          ::openat(folder, entry.name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)};
      if (!inner) continue;
      if (auto node = findBelow(inner.get(), type, device, depth - 1)) return node;
    }
  }
  return std::nullopt;
}

// The host's node by its usual name, else wherever it is; type and number decide (security.md N7).
Fd openHostNode(const std::string& name, mode_t type, dev_t device) {
  constexpr int kDepth = 3;
  const Fd dev = sys::openDirectory(AT_FDCWD, "/dev");
  auto node = sys::tryOpenat(dev.get(), name, O_PATH | O_NOFOLLOW);
  if (node && isNode(sys::fstat(node->get()), type, device)) return std::move(*node);
  if (auto other = findBelow(dev.get(), type, device, kDepth)) return std::move(*other);
  throw Error::make(Kind::denied, "cannot give the container the device {}: there is none in /dev",
                    name)
      .why("nodes can be made by root only; for others those of the host are used");
}

// False: it stands for one of the host's, and owner and mode are that one's.
bool makeNode(int dir, const std::string& name, mode_t mode, dev_t device, Stands& stands) {
  if (::mknodat(dir, name.c_str(), mode, device) == 0) return true;
  if (errno != EPERM || (!S_ISCHR(mode) && !S_ISBLK(mode))) {
    throw Error::fromErrno(errno, "create node " + name);
  }
  Fd node = openHostNode(name, mode, device);
  std::ignore = sys::openat(dir, name, O_WRONLY | O_CREAT | O_EXCL, 0600);
  stands.push_back({sys::openDirectory(dir, "."), name, std::move(node)});
  return false;
}

void bindStands(const Stands& stands) {
  for (const Stand& stand : stands) {
    const Fd tree = cloneMount(stand.node.get(), "");
    sys::mountSetattr(tree.get(), "", 0, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC, 0, MS_PRIVATE);
    sys::moveMount(tree.get(), stand.folder.get(), stand.name);
  }
}

// --privileged: the nodes of the host's /dev, made anew so that nothing of the host's tree is
// mounted here.
void copyHostDevices(int from, int to, int depth, Stands& stands) {
  for (const fs::Entry& entry : fs::list(from)) {
    if (entry.type == DT_CHR || entry.type == DT_BLK) {
      const std::optional<struct stat> info = sys::tryFstatat(from, entry.name);
      if (!info || sys::tryFstatat(to, entry.name) || entry.name == "console") continue;
      if (makeNode(to, entry.name, info->st_mode, info->st_rdev, stands)) {
        sys::lchownat(to, entry.name, info->st_uid, info->st_gid);
      }
    } else if (entry.type == DT_DIR && depth < 4) {
      const Fd inner = sys::openat(from, entry.name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
      const auto type = sys::fstatfs(inner.get(), "/dev").f_type;
      if (type == DEVPTS_SUPER_MAGIC || entry.name == "shm" || entry.name == "mqueue") continue;
      sys::tryMkdirat(to, entry.name, 0755);
      copyHostDevices(inner.get(), sys::openDirectory(to, entry.name).get(), depth + 1, stands);
    }
  }
}

// Nodes that were asked for, by their path below /dev; folders on the way are made.
void makeAskedDevices(int dir, const Spec& spec, Stands& stands) {
  for (const DeviceNode& node : spec.devices) {
    const std::vector<std::string> parts = pathParts(node.path);
    if (parts.size() < 2 || parts.front() != "dev") {
      throw Error::make(Kind::usage, "cannot make the device {}: it is not below /dev",
                        text::quote(node.path));
    }
    Fd folder = sys::openDirectory(dir, ".");
    for (size_t i = 1; i + 1 < parts.size(); ++i) {
      sys::tryMkdirat(folder.get(), parts[i], 0755);
      folder = sys::openat(folder.get(), parts[i], O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
    }
    sys::tryUnlinkat(folder.get(), parts.back(), 0);
    if (makeNode(folder.get(), parts.back(), node.type, node.device, stands)) {
      sys::lchownat(folder.get(), parts.back(), node.uid, node.gid);
    }
  }
}

Fd makeDeviceFolder(const Spec& spec, Stands& stands) {
  Fd folder = makeMount("tmpfs", MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC | MOUNT_ATTR_STRICTATIME,
                        {{"source", "tmpfs"}, {"mode", "0755"}, {"size", "65536k"}});
  const int dir = folder.get();
  // The umask is 022 here and the standard nodes are for everybody, so it is lifted for them alone.
  const mode_t old = ::umask(0);
  for (const Node& node : kNodes) {
    makeNode(dir, node.name, S_IFCHR | 0666, makedev(node.major, node.minor), stands);
  }
  makeAskedDevices(dir, spec, stands);
  ::umask(old);
  for (const Link& link : kLinks) sys::symlinkat(link.target, dir, link.name);
  for (const char* name : {"pts", "mqueue"}) sys::mkdirat(dir, name, 0755);
  if (spec.hasSharedMemory) sys::mkdirat(dir, "shm", 0755);
  if (spec.privileged) {
    copyHostDevices(sys::openDirectory(AT_FDCWD, "/dev").get(), dir, 0, stands);
  }
  return folder;
}

constexpr std::uint64_t kMakeNodes = std::uint64_t{1} << CAP_MKNOD;

// Each node becomes a mount of its own: those stay usable when the folder around them is nodev.
void bindNodes(int folder) {
  for (const fs::Entry& entry : fs::list(folder)) {
    if (entry.type == DT_CHR || entry.type == DT_BLK) {
      sys::moveMount(cloneMount(folder, entry.name).get(), folder, entry.name);
    } else if (entry.type == DT_DIR) {
      bindNodes(sys::openat(folder, entry.name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW).get());
    }
  }
}

// What a container with CAP_MKNOD makes itself must stay inert here too, as it does on its root
// (security.md N9): /dev/sda would be the host's disk. Needs no device cgroup.
void keepNewNodesInert(int folder, const Spec& spec) {
  if (spec.privileged || (spec.capabilities & kMakeNodes) == 0) return;
  bindNodes(sys::openDirectory(folder, ".").get());
  sys::mountSetattr(folder, "", 0, MOUNT_ATTR_NODEV, 0);
}

Fd makePts(bool hasTtyGroup) {
  std::vector<MountOption> options{
      {"source", "devpts"}, {"newinstance", ""}, {"ptmxmode", "0666"}, {"mode", "0620"}};
  if (hasTtyGroup) options.push_back({"gid", std::to_string(kTtyGroup)});
  return makeMount("devpts", MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC, options);
}

// /dev/console: the pty itself, bound over an empty file of ours.
void attachConsole(int folder, const Terminal& terminal) {
  const Fd file = sys::openat(folder, "console", O_WRONLY | O_CREAT | O_EXCL, 0600);
  sys::moveMount(cloneMount(terminal.slave.get(), "").get(), folder, "console");
}

constexpr unsigned kInert = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC | MOUNT_ATTR_NODEV;

void attachSharedMemory(int dir, const Spec& spec) {
  if (!spec.hasSharedMemory) return;
  if (spec.sharedMemory >= 0) return sys::moveMount(spec.sharedMemory, dir, "shm");
  const Fd shm =
      makeMount("tmpfs", kInert,
                {{"source", "shm"}, {"mode", "1777"}, {"size", std::to_string(spec.shmSize)}});
  sys::moveMount(shm.get(), dir, "shm");
}

void attachQueues(int dir) {
  try {
    sys::moveMount(makeMount("mqueue", kInert, {{"source", "mqueue"}}).get(), dir, "mqueue");
  } catch (const Error& error) {
    // The ipc namespace belongs to another user namespace. mq_open(3) works without the folder.
    if (error.errnum() != EPERM) throw;
  }
}

}  // namespace

Terminal openTerminal(int pts) {
  Terminal terminal;
  terminal.master = sys::openBeneath(pts, "ptmx", O_RDWR);
  const struct stat info = sys::fstat(terminal.master.get());
  const bool isDevpts =
      sys::fstatfs(terminal.master.get(), "/dev/pts/ptmx").f_type == DEVPTS_SUPER_MAGIC;
  if (!isDevpts || info.st_ino != 2 || info.st_rdev != makedev(5, 2)) {
    throw Error{Kind::denied, "/dev/pts/ptmx of the container is not a terminal multiplexer"};
  }
  int unlock = 0;
  sys::ioctl(terminal.master.get(), TIOCSPTLCK, &unlock, "unlock a terminal");
  // The peer by ioctl, never by its path, which the container could have replaced (CVE-2025-52565).
  terminal.slave = Fd{sys::check(
      [&] { return ::ioctl(terminal.master.get(), TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC); },
      "open the terminal")};
  return terminal;
}

Devices mountDevices(int root, const Spec& spec, bool hasTtyGroup) {
  Devices devices;
  Stands stands;
  devices.folder = makeDeviceFolder(spec, stands);
  const int dir = devices.folder.get();
  const Fd pts = makePts(hasTtyGroup);
  sys::moveMount(dir, openRealFolder(root, "dev").get(), "");
  bindStands(stands);
  keepNewNodesInert(dir, spec);
  sys::moveMount(pts.get(), dir, "pts");
  attachSharedMemory(dir, spec);
  attachQueues(dir);
  devices.null = sys::openat(dir, "null", O_RDWR);
  if (spec.tty) {
    devices.terminal = openTerminal(pts.get());
    attachConsole(dir, *devices.terminal);
  }
  return devices;
}

}  // namespace img::runtime
