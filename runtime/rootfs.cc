#include "runtime/rootfs.h"

#include <fcntl.h>
#include <fnmatch.h>
#include <linux/mount.h>
#include <sys/mount.h>

#include <algorithm>
#include <numeric>
#include <string>

#include "base/own_namespace.h"
#include "base/sys.h"
#include "base/text.h"
#include "runtime/chroot_fallback.h"
#include "runtime/mounts.h"
#include "runtime/paths.h"
#include "runtime/sysctls.h"
#include "runtime/user_namespace.h"

namespace img::runtime {
namespace {

constexpr unsigned kInert = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC | MOUNT_ATTR_NODEV;

// security.md N5: kernel addresses, keys of other users, power and interrupt side channels.
constexpr const char* kMaskedProc[] = {"acpi",       "asound",        "interrupts",  "kcore",
                                       "keys",       "latency_stats", "sched_debug", "scsi",
                                       "timer_list", "timer_stats"};
constexpr const char* kMaskedSys[] = {"devices/virtual/powercap", "firmware", "fs/selinux"};
// security.md N6. /proc/asound is masked instead, which is stricter.
constexpr const char* kReadOnlyProc[] = {"bus", "fs", "irq", "sys", "sysrq-trigger"};

// A tmpfs of our own that the container never sees as a whole: what is bound from it shows no path
// of the host in mountinfo. It goes away with the old root.
struct Scratch {
  Fd mount;

  explicit Scratch(const Spec& spec) {
    mount = makeMount("tmpfs", kInert, {{"source", "img"}, {"mode", "0755"}});
    sys::mkdirat(mount.get(), "empty", 0555);
    // Attached somewhere below the old root, at a folder that surely exists: open_tree(2) clones
    // from a detached mount only since Linux 6.15, and letting go of a detached mount costs a wait
    // for RCU of its own (namespace_unlock() in the kernel), where the one for the old root is paid
    // anyway.
    if (!spec.userNamespace.isUsed()) {
      for (const int layer : spec.layerMounts) sys::moveMount(layer, AT_FDCWD, "/proc");
    }
    sys::moveMount(mount.get(), AT_FDCWD, "/proc");
  }
};

void cover(int target, int scratch, int devices) {
  const bool isFolder = S_ISDIR(sys::fstat(target).st_mode);
  const Fd mask = isFolder ? cloneMount(scratch, "empty") : cloneMount(devices, "null");
  if (isFolder) sys::mountSetattr(mask.get(), "", 0, MOUNT_ATTR_RDONLY, 0);
  sys::moveMount(mask.get(), target, "");
}

// Covers one path of a pseudo file system of ours; a path that is not there needs no cover.
void maskPath(int instance, const char* path, int scratch, int devices) {
  const std::optional<Fd> target = sys::tryOpenat(instance, path, O_PATH | O_NOFOLLOW);
  if (target) cover(target->get(), scratch, devices);
}

// A path the caller named, anywhere in the container.
void maskInRoot(int root, const std::string& path, int scratch, int devices) {
  const std::optional<Fd> target = sys::tryOpenInRoot(root, path, O_PATH);
  if (target) cover(target->get(), scratch, devices);
}

void makeReadOnly(int instance, const char* path) {
  const std::optional<Fd> target = sys::tryOpenat(instance, path, O_PATH | O_NOFOLLOW);
  if (!target) return;
  const Fd tree = cloneMount(target->get(), "", true);
  sys::mountSetattr(tree.get(), "", AT_RECURSIVE, MOUNT_ATTR_RDONLY, 0);
  sys::moveMount(tree.get(), target->get(), "");
}

// Unmasked by its path or by a pattern ("/proc/*"), or by ALL.
bool isLeftOpen(const Spec& spec, const std::string& path) {
  return std::any_of(spec.unmaskedPaths.begin(), spec.unmaskedPaths.end(),
                     [&](const std::string& open) {
                       return open == "ALL" || cleanPath(open) == path ||
                              ::fnmatch(open.c_str(), path.c_str(), FNM_PATHNAME) == 0;
                     });
}

void maskThermalThrottles(int sysfs, const Spec& spec, int scratch, int devices) {
  for (int cpu = 0;; ++cpu) {
    const std::string folder = "devices/system/cpu/cpu" + std::to_string(cpu);
    if (!sys::tryOpenat(sysfs, folder, O_PATH | O_NOFOLLOW)) return;
    const std::string path = folder + "/thermal_throttle";
    if (!isLeftOpen(spec, "/sys/" + path)) maskPath(sysfs, path.c_str(), scratch, devices);
  }
}

// Our own network namespace has no privileged ports to guard, and ping works without CAP_NET_RAW
// (security.md P1).
void relaxNetworkSysctls(int proc) {
  constexpr std::uint64_t kLast = 2147483647;
  // Groups that the user namespace does not have are refused; the machine's own has all.
  const std::uint64_t groups =
      isInMachineNamespace() ? kLast + 1 : contiguousIds(readIdMap(proc, "self/gid_map"));
  const std::string range =
      fmt::format("0 {}", std::min(std::max<std::uint64_t>(groups, 1) - 1, kLast));
  const std::pair<const char*, std::string_view> kValues[] = {
      {"sys/net/ipv4/ping_group_range", range}, {"sys/net/ipv4/ip_unprivileged_port_start", "0"}};
  for (const auto& [path, value] : kValues) {
    if (const std::optional<Fd> file = sys::tryOpenat(proc, path, O_WRONLY)) {
      writeAll(file->get(), value, path);
    }
  }
}

// In a user namespace the kernel gives a new /proc only where the one that is there hides nothing
// (mount_too_revealing() in the kernel), and only to the owner of the pid namespace: with the
// caller's pid namespace `ours` is shown instead.
Fd makeProc(const Spec& spec, Fd ours) {
  try {
    return makeMount("proc", kInert, {{"source", "proc"}});
  } catch (Error& error) {
    if (error.kind() != Kind::denied && error.errnum() != EPERM) throw;
    if (ours) return ours;
    if (spec.pid.from == Namespace::From::other) {
      error.why("the pid namespace to join belongs to another user namespace");
      error.hint("join that one too: --userns container:NAME");
      throw;
    }
    error.why("parts of /proc are covered here, as in a container, so the kernel gives no new one");
    error.hint(
        "start the container around this program with --security-opt unmask=ALL (podman) or "
        "systempaths=unconfined (docker)");
    throw;
  }
}

// A new one, or the host's: a user namespace gets its own only with a network namespace of its own
// (security.md N4, U5). Read-only with all that is mounted below: /sys/fs/cgroup was writable in
// CVE-2023-25809.
Fd makeSys(const Spec& spec) {
  const unsigned readOnly = spec.privileged ? 0U : unsigned{MOUNT_ATTR_RDONLY};
  try {
    return makeMount("sysfs", kInert | readOnly, {{"source", "sysfs"}});
  } catch (const Error& error) {
    if (error.errnum() != EPERM) throw;
  }
  Fd tree = cloneMount(AT_FDCWD, "/sys", true);
  sys::mountSetattr(tree.get(), "", AT_RECURSIVE, kInert | MOUNT_ATTR_RDONLY, 0, MS_PRIVATE);
  return tree;
}

// The /proc of the caller, where a container is to see the same processes.
Fd cloneHostProc(const Spec& spec) {
  if (spec.pid.from != Namespace::From::host) return {};
  Fd tree = cloneMount(AT_FDCWD, "/proc", true);
  sys::mountSetattr(tree.get(), "", AT_RECURSIVE, kInert, 0, MS_PRIVATE);
  return tree;
}

void mountProc(int root, const Spec& spec, Fd ours, int scratch, int devices) {
  const Fd proc = makeProc(spec, std::move(ours));
  sys::moveMount(proc.get(), openRealFolder(root, "proc").get(), "");
  if (spec.network == Network::none) relaxNetworkSysctls(proc.get());
  applySysctls(proc.get(), spec);
  if (spec.privileged) return;
  for (const char* path : kReadOnlyProc) {
    if (!isLeftOpen(spec, std::string{"/proc/"} + path)) makeReadOnly(proc.get(), path);
  }
  for (const char* path : kMaskedProc) {
    if (!isLeftOpen(spec, std::string{"/proc/"} + path)) {
      maskPath(proc.get(), path, scratch, devices);
    }
  }
}

void mountSys(int root, const Spec& spec, int scratch, int devices) {
  const Fd sysfs = makeSys(spec);
  sys::moveMount(sysfs.get(), openRealFolder(root, "sys").get(), "");
  if (spec.privileged) return;
  for (const char* path : kMaskedSys) {
    if (!isLeftOpen(spec, std::string{"/sys/"} + path)) {
      maskPath(sysfs.get(), path, scratch, devices);
    }
  }
  maskThermalThrottles(sysfs.get(), spec, scratch, devices);
}

// A volume that names the very path wins over our file.
bool isMountTarget(const Spec& spec, const std::string& path) {
  return std::any_of(spec.mounts.begin(), spec.mounts.end(),
                     [&](const Mount& mount) { return cleanPath(mount.target) == path; });
}

void bindFile(int root, const Spec& spec, int scratch, size_t index) {
  const auto& [path, content] = spec.files[index];
  // The base name is what mountinfo shows; the number keeps two of the same name apart.
  const std::string folder = std::to_string(index);
  const std::vector<std::string> parts = pathParts(path);
  if (parts.empty()) throw Error{Kind::usage, "cannot put a file on / of the container"};
  sys::mkdirat(scratch, folder, 0755);
  const std::string name = folder + "/" + parts.back();
  writeAll(sys::openat(scratch, name, O_WRONLY | O_CREAT | O_EXCL, 0644).get(), content, path);
  const Fd file = cloneMount(scratch, name);
  if (spec.filesReadOnly) sys::mountSetattr(file.get(), "", 0, MOUNT_ATTR_RDONLY, 0);
  sys::moveMount(file.get(), openMountTarget(root, path, false).get(), "");
}

void bindFiles(int root, const Spec& spec, int scratch) {
  for (size_t i = 0; i < spec.files.size(); ++i) {
    if (!isMountTarget(spec, cleanPath(spec.files[i].first))) bindFile(root, spec, scratch, i);
  }
}

// Outer targets first, whatever the order of the options: /a before /a/b.
std::vector<size_t> mountOrder(const Spec& spec) {
  std::vector<size_t> order(spec.mounts.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    return pathParts(spec.mounts[a].target).size() < pathParts(spec.mounts[b].target).size();
  });
  return order;
}

// A clone of what the mount names in its tree, which is attached in the scratch mount: there the
// container never sees it, and it goes away with the old root.
Fd cloneDetached(const Mount& mount, int tree, int scratch, size_t index) {
  const std::uint64_t attributes = mount.attributes | (mount.readOnly ? MOUNT_ATTR_RDONLY : 0);
  if (!S_ISDIR(sys::fstat(tree).st_mode)) {  // of a single file: nothing in it to name
    sys::mountSetattr(tree, "", 0, attributes, 0, MS_PRIVATE);
    return Fd{sys::check([&] { return ::fcntl(tree, F_DUPFD_CLOEXEC, 0); }, "duplicate a mount")};
  }
  const std::string folder = fmt::format("tree{}", index);
  sys::mkdirat(scratch, folder, 0700);
  sys::moveMount(tree, scratch, folder);
  const Fd source = sys::openInRoot(tree, mount.subpath.empty() ? "." : mount.subpath, O_PATH);
  Fd clone = cloneMount(source.get(), "");
  sys::mountSetattr(clone.get(), "", 0, attributes, 0, MS_PRIVATE);
  return clone;
}

// A place that would have to be made in a mount that is read-only.
Error readOnlyPlace(std::string_view action, const std::string& path) {
  Error error =
      Error::make(Kind::failed, "{} {}: it is not there", action, text::escape(path, 500));
  error.why("the mount it lies in is read-only, so it cannot be made there");
  error.hint("make it in the source of that mount, or mount that one for writing");
  return error;
}

void attachMounts(int root, const Spec& spec, const std::vector<Fd>& trees, int scratch) {
  for (const size_t i : mountOrder(spec)) {
    const std::string& target = spec.mounts[i].target;
    try {
      const bool isDetached = spec.mounts[i].type == Mount::Type::detached;
      const Fd clone =
          isDetached ? cloneDetached(spec.mounts[i], trees[i].get(), scratch, i) : Fd{};
      const int tree = isDetached ? clone.get() : trees[i].get();
      const bool isFolder = S_ISDIR(sys::fstat(tree).st_mode);
      // Devices are given by name (Spec::devices). Without a device cgroup a volume would be the
      // way around that, for a container that may make nodes in it.
      if (!spec.privileged) sys::mountSetattr(tree, "", AT_RECURSIVE, MOUNT_ATTR_NODEV, 0);
      sys::moveMount(tree, openMountTarget(root, target, isFolder).get(), "");
    } catch (Error& error) {
      if (error.errnum() == EROFS) throw readOnlyPlace("cannot mount on", target);
      error.during("mounting on {}", target);
      throw;
    }
  }
}

// Device nodes of layers stay inert (security.md N9); nosuid as well where no_new_privs makes
// set-user-id useless anyway, so that programs with file capabilities outside the bounding set
// still start.
void restrictRoot(int root, const Spec& spec) {
  std::uint64_t attributes = spec.privileged ? 0 : MOUNT_ATTR_NODEV;
  if (spec.noNewPrivs) attributes |= MOUNT_ATTR_NOSUID;
  if (spec.readOnlyRoot) attributes |= MOUNT_ATTR_RDONLY;
  if (attributes != 0) sys::mountSetattr(root, "", 0, attributes, 0);
}

// No folder for the old root in the image: it ends up on top of the new one, and goes.
void pivotAway(int root) {
  sys::fchdir(root);
  try {
    sys::pivotRoot(".", ".");
  } catch (Error& error) {
    // pivot_root(2): EINVAL when the root is the initial ramfs.
    if (error.errnum() == EINVAL) {
      error.hint(
          "the root of this machine is an initramfs: switch to a real root, or set "
          "IMG_NO_PIVOT_ROOT=1 for a chroot, which keeps the container in less well");
    }
    throw;
  }
  sys::umount2(".", MNT_DETACH);
}

}  // namespace

std::vector<std::string> maskedPaths(const Spec& spec) {
  std::vector<std::string> paths;
  const auto add = [&](const std::string& path) {
    if (!spec.privileged && !isLeftOpen(spec, path)) paths.push_back(path);
  };
  for (const char* path : kMaskedProc) add(std::string{"/proc/"} + path);
  for (const char* path : kMaskedSys) add(std::string{"/sys/"} + path);
  add("/sys/devices/system/cpu/cpu*/thermal_throttle");
  paths.insert(paths.end(), spec.maskedPaths.begin(), spec.maskedPaths.end());
  return paths;
}

std::vector<std::string> readOnlyPaths(const Spec& spec) {
  std::vector<std::string> paths;
  for (const char* name : kReadOnlyProc) {
    const std::string path = std::string{"/proc/"} + name;
    if (!spec.privileged && !isLeftOpen(spec, path)) paths.push_back(path);
  }
  return paths;
}

// Made while the root can still be written to. /proc/self/fd/N as a working folder would be a
// descriptor of ours (CVE-2024-21626, security.md F5).
void makeWorkingFolder(int root, const std::string& path) {
  const std::string clean = cleanPath(path);
  // The spelling first, for a message that says it; what links lead to, by the folder itself.
  const bool isBelowProc = clean == "/proc" || clean.substr(0, 6) == "/proc/";
  const auto make = [&] {
    try {
      return makeDirsInRoot(root, path);
    } catch (const Error& error) {
      if (error.errnum() == EROFS) throw readOnlyPlace("cannot work in", path);
      throw;
    }
  };
  if (isBelowProc || isOnProcOrSys(make().get())) {
    throw Error::make(Kind::usage, "the working folder {} is part of /proc or /sys",
                      text::quote(path));
  }
}

Devices assembleRootfs(int root, const Spec& spec, const std::vector<Fd>& mounts,
                       const CgroupView& cgroups) {
  const bool hasTtyGroup =  // asked while /proc is in view
      isInMachineNamespace() || contiguousIds(currentGidMap()) > kTtyGroup;
  Fd proc = cloneHostProc(spec);
  const Scratch scratch{spec};
  sys::moveMount(root, AT_FDCWD, "/");

  Devices devices = mountDevices(root, spec, hasTtyGroup);
  const int dev = devices.folder.get();
  mountProc(root, spec, std::move(proc), scratch.mount.get(), dev);
  mountSys(root, spec, scratch.mount.get(), dev);
  mountCgroupView(root, cgroups, spec);
  attachMounts(root, spec, mounts, scratch.mount.get());
  bindFiles(root, spec, scratch.mount.get());
  for (const std::string& path : spec.maskedPaths) maskInRoot(root, path, scratch.mount.get(), dev);
  makeWorkingFolder(root, spec.cwd);
  restrictRoot(root, spec);
  return devices;
}

void pivotInto(int root) {
  if (isChrootAsked()) {
    enterByChroot(root);
  } else {
    pivotAway(root);
  }
  sys::chdir("/");
  const struct stat wanted = sys::fstat(root);
  const struct stat got = sys::fstatat(AT_FDCWD, "/");
  if (wanted.st_dev != got.st_dev || wanted.st_ino != got.st_ino) {
    throw Error{Kind::internal, "the container's root did not become the root"};
  }
}

}  // namespace img::runtime
