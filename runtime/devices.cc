#include "runtime/devices.h"

#include <dirent.h>
#include <linux/magic.h>
#include <linux/mount.h>
#include <sys/ioctl.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>

#include <string>

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

void makeNode(int dir, const std::string& name, mode_t mode, dev_t device) {
  sys::mknodat(dir, name, mode, device);
}

// --privileged: the nodes of the host's /dev, made anew so that nothing of the host's tree is
// mounted here.
void copyHostDevices(int from, int to, int depth) {
  for (const fs::Entry& entry : fs::list(from)) {
    if (entry.type == DT_CHR || entry.type == DT_BLK) {
      const std::optional<struct stat> info = sys::tryFstatat(from, entry.name);
      if (!info || sys::tryFstatat(to, entry.name) || entry.name == "console") continue;
      makeNode(to, entry.name, info->st_mode, info->st_rdev);
      sys::lchownat(to, entry.name, info->st_uid, info->st_gid);
    } else if (entry.type == DT_DIR && depth < 4) {
      const Fd inner = sys::openat(from, entry.name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
      const auto type = sys::fstatfs(inner.get(), "/dev").f_type;
      if (type == DEVPTS_SUPER_MAGIC || entry.name == "shm" || entry.name == "mqueue") continue;
      sys::tryMkdirat(to, entry.name, 0755);
      copyHostDevices(inner.get(), sys::openDirectory(to, entry.name).get(), depth + 1);
    }
  }
}

// Nodes that were asked for, by their path below /dev; folders on the way are made.
void makeAskedDevices(int dir, const Spec& spec) {
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
    makeNode(folder.get(), parts.back(), node.type, node.device);
    sys::lchownat(folder.get(), parts.back(), node.uid, node.gid);
  }
}

Fd makeDeviceFolder(const Spec& spec) {
  Fd folder = makeMount("tmpfs", MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC | MOUNT_ATTR_STRICTATIME,
                        {{"source", "tmpfs"}, {"mode", "0755"}, {"size", "65536k"}});
  const int dir = folder.get();
  // The umask is 022 here and the standard nodes are for everybody, so it is lifted for them alone.
  const mode_t old = ::umask(0);
  for (const Node& node : kNodes) {
    makeNode(dir, node.name, S_IFCHR | 0666, makedev(node.major, node.minor));
  }
  makeAskedDevices(dir, spec);
  ::umask(old);
  for (const Link& link : kLinks) sys::symlinkat(link.target, dir, link.name);
  for (const char* name : {"pts", "shm", "mqueue"}) sys::mkdirat(dir, name, 0755);
  if (spec.privileged) copyHostDevices(sys::openDirectory(AT_FDCWD, "/dev").get(), dir, 0);
  return folder;
}

// /dev/console: the pty itself, bound over an empty file of ours.
void attachConsole(int folder, const Terminal& terminal) {
  const Fd file = sys::openat(folder, "console", O_WRONLY | O_CREAT | O_EXCL, 0600);
  sys::moveMount(cloneMount(terminal.slave.get(), "").get(), folder, "console");
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

Devices mountDevices(int root, const Spec& spec) {
  Devices devices;
  devices.folder = makeDeviceFolder(spec);
  const int dir = devices.folder.get();
  constexpr unsigned kInert = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC | MOUNT_ATTR_NODEV;
  const Fd pts = makeMount("devpts", MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC,
                           {{"source", "devpts"},
                            {"newinstance", ""},
                            {"ptmxmode", "0666"},
                            {"mode", "0620"},
                            {"gid", "5"}});
  const Fd shm =
      makeMount("tmpfs", kInert,
                {{"source", "shm"}, {"mode", "1777"}, {"size", std::to_string(spec.shmSize)}});
  const Fd queues = makeMount("mqueue", kInert, {{"source", "mqueue"}});

  sys::moveMount(dir, openRealFolder(root, "dev").get(), "");
  sys::moveMount(pts.get(), dir, "pts");
  sys::moveMount(shm.get(), dir, "shm");
  sys::moveMount(queues.get(), dir, "mqueue");
  devices.null = sys::openat(dir, "null", O_RDWR);
  if (spec.tty) {
    devices.terminal = openTerminal(pts.get());
    attachConsole(dir, *devices.terminal);
  }
  return devices;
}

}  // namespace img::runtime
