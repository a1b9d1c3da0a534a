#include "store/overlay.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <linux/mount.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/statfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <functional>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>

#include "base/error.h"
#include "base/own_namespace.h"
#include "base/process.h"
#include "base/sys.h"
#include "store/union_copy.h"
#include "store/whiteout.h"

namespace img::store {
namespace {

// The same upper has to mean the same without the layers below (architecture.md 4): no redirects
// and no data left in a lower. index=off: an upper may be moved and stacked on other lowers.
constexpr std::array<std::pair<const char*, const char*>, 3> kOptions = {
    {{"redirect_dir", "off"}, {"metacopy", "off"}, {"index", "off"}}};

// userxattr implies the first two, and the kernel refuses them beside it (ovl_fs_params_verify(),
// fs/overlayfs/params.c).
std::span<const std::pair<const char*, const char*>> optionsOf(const OverlaySpec& spec) {
  return std::span{kOptions}.subspan(spec.userXattr ? 2 : 0);
}

constexpr size_t kMaxOptions = 4095;  // mount(2): one page, with its NUL

std::string fdPath(int fd) {
  return "/proc/self/fd/" + std::to_string(fd);
}

struct FileSystemName {
  long magic;
  const char* name;
};
constexpr FileSystemName kRefused[] = {
    {OVERLAYFS_SUPER_MAGIC, "overlayfs"}, {TMPFS_MAGIC, "tmpfs"}, {NFS_SUPER_MAGIC, "NFS"},
    {FUSE_SUPER_MAGIC, "FUSE"},           {V9FS_MAGIC, "9p"},     {MSDOS_SUPER_MAGIC, "FAT"},
    {ECRYPTFS_SUPER_MAGIC, "ecryptfs"}};

// What the user can do about it, as far as the error and the file system of the store tell.
void explain(Error& error, const OverlaySpec& spec) {
  if (error.kind() == Kind::denied || error.errnum() == EPERM) {
    error.hint("mounting needs root, or a user namespace");
    return;
  }
  if (error.errnum() == ENODEV) {
    error.hint("the kernel has no overlayfs: load the module \"overlay\"");
    return;
  }
  const int folder = spec.upper >= 0 ? spec.upper : spec.lowers.front();
  const long magic = static_cast<long>(sys::fstatfs(folder, "a layer").f_type);
  for (const FileSystemName& row : kRefused) {
    if (row.magic != magic) continue;
    error.hint(
        fmt::format("the store lies on {}; put it on ext4, xfs or btrfs with --root", row.name));
  }
}

void checkSpec(const OverlaySpec& spec) {
  if (spec.lowers.empty()) throw Error{Kind::internal, "a union needs at least one lower folder"};
  if (spec.lowers.size() > kMaxLowers) {
    throw Error::make(Kind::unsupported, "the image has {} layers, the kernel mounts at most {}",
                      spec.lowers.size(), kMaxLowers)
        .hint("squash the image");
  }
}

bool hidesOthers(int lower) {
  char names[256];
  const ssize_t size = ::flistxattr(lower, names, sizeof names);
  // Nearly none has it: to see that takes one call.
  const std::string_view known{names, static_cast<size_t>(std::max<ssize_t>(size, 0))};
  if (size >= 0 && known.find("overlay.opaque") == std::string_view::npos) return false;
  // A descriptor of O_PATH is not taken: then another one is asked.
  const Fd again = size < 0 && errno == EBADF ? sys::openDirectory(lower, ".") : Fd{};
  return opaqueMark(again ? again.get() : lower) == OpaqueMark::opaque;
}

// overlayfs honours the opaque mark of every folder but a layer's root (ovl_lookup looks at names,
// and the root has none): what lies below such a layer is taken out of the union here.
void dropHiddenLowers(OverlaySpec& spec) {
  for (size_t i = 0; i + 1 < spec.lowers.size(); ++i) {
    if (hidesOthers(spec.lowers[i])) spec.lowers.resize(i + 1);
  }
}

// An image may hold the same layer twice, and overlayfs refuses one folder in two places (ELOOP).
// The upper one wins everywhere: it has every name, whiteout and opaque mark of the lower one.
// Returns one lower of each file system.
std::vector<int> dropRepeatedLowers(OverlaySpec& spec) {
  std::set<std::pair<dev_t, ino_t>> seen;
  std::set<dev_t> devices;
  std::vector<int> distinct;
  std::vector<int> ofDevices;
  for (const int lower : spec.lowers) {
    const struct stat st = sys::fstat(lower);
    if (devices.insert(st.st_dev).second) ofDevices.push_back(lower);
    if (seen.emplace(st.st_dev, st.st_ino).second) distinct.push_back(lower);
  }
  spec.lowers = std::move(distinct);
  return ofDevices;
}

// The descriptors of `spec` become those of mapped clones, which are returned. `attach` is called
// for each clone.
std::vector<Fd> mapLayers(OverlaySpec& spec, const std::function<void(int)>& attach) {
  std::vector<Fd> clones;
  if (!spec.mapping.isUsed()) return clones;
  const auto clone = [&](int folder) {
    clones.push_back(cloneMapped(folder, spec.mapping.userNamespace));
    attach(clones.back().get());
    return clones.back().get();
  };
  const int folder = spec.upper >= 0 ? clone(spec.mapping.folder) : -1;
  for (int& lower : spec.lowers) lower = clone(lower);
  if (folder < 0) return clones;
  for (const auto& [fd, name] : {std::pair{&spec.upper, "upper"}, std::pair{&spec.work, "work"}}) {
    clones.push_back(sys::openBeneath(folder, name, O_PATH | O_DIRECTORY));
    *fd = clones.back().get();
  }
  return clones;
}

// The first clone is the one of the upper's folder.
std::unique_ptr<MountingAsRootOf> mounterOf(const OverlaySpec& spec,
                                            const std::vector<Fd>& clones) {
  if (clones.empty() || spec.upper < 0) return nullptr;
  return std::make_unique<MountingAsRootOf>(clones.front().get());
}

// A layer that is mounted from an index (erofs_mount.h).
bool isErofs(int lower) {
  return static_cast<std::uint32_t>(sys::fstatfs(lower, "a layer").f_type) == EROFS_SUPER_MAGIC_V1;
}

// Each index is a file system of its own, and st_dev would tell which one a file is of, so that a
// change of its mode gave it another: xino puts the layer into high bits of the inode number, which
// EROFS does not use (overlayfs.rst, "Inode properties"). "auto" trusts only file systems with
// 32-bit numbers.
void unifyInodes(int context, bool hasErofs) {
  if (hasErofs) sys::fsconfigString(context, "xino", "on");
}

// A root that nobody else has, and that is empty.
Fd mountEmpty() {
  const Fd context = sys::fsopen("tmpfs");
  sys::fsconfigString(context.get(), "size", "4k");
  sys::fsconfigCreate(context.get(), "tmpfs");
  return sys::fsmount(context.get(), MOUNT_ATTR_RDONLY);
}

// What fsconfig(2) is to call a folder: ".", from inside it. To look a descriptor up in /proc takes
// the kernel longer than all else about a layer, and the container would read the name in its
// mountinfo.
class FolderNames {
 public:
  FolderNames() {
    // Threads that share the working folder keep theirs.
    if (::unshare(CLONE_FS) != 0) return;
    before_ = Fd{::open(".", O_PATH | O_DIRECTORY | O_CLOEXEC)};
    if (before_ && ::fchdir(before_.get()) != 0) before_.reset();
  }
  FolderNames(const FolderNames&) = delete;
  FolderNames& operator=(const FolderNames&) = delete;
  FolderNames(FolderNames&&) = delete;
  FolderNames& operator=(FolderNames&&) = delete;
  ~FolderNames() {
    if (before_) std::ignore = ::fchdir(before_.get());  // it went well before
  }

  // Right until the next one.
  [[nodiscard]] std::string nameOf(int folder) const {
    return before_ && ::fchdir(folder) == 0 ? "." : fdPath(folder);
  }

 private:
  Fd before_;
};

// nullopt: this kernel does not know "lowerdir+".
std::optional<Fd> mountByNewApi(OverlaySpec spec, bool hasErofs) {
  const std::vector<Fd> clones = mapLayers(spec, [](int) {});
  const FolderNames names;
  const auto mounter = mounterOf(spec, clones);
  const Fd fs = sys::fsopen("overlay");
  for (const int lower : spec.lowers) {
    if (sys::tryFsconfigString(fs.get(), "lowerdir+", names.nameOf(lower))) continue;
    if (lower == spec.lowers.front()) return std::nullopt;
    throw Error{Kind::failed, "the kernel refuses a layer as part of the union"};
  }
  for (const auto& [key, value] : optionsOf(spec)) sys::fsconfigString(fs.get(), key, value);
  unifyInodes(fs.get(), hasErofs);
  if (spec.userXattr) sys::fsconfigFlag(fs.get(), "userxattr");
  if (spec.upper >= 0) {
    sys::fsconfigString(fs.get(), "upperdir", names.nameOf(spec.upper));
    sys::fsconfigString(fs.get(), "workdir", names.nameOf(spec.work));
    if (spec.isVolatile) sys::fsconfigFlag(fs.get(), "volatile");
  }
  sys::fsconfigCreate(fs.get(), "overlay");
  return sys::fsmount(fs.get(), spec.upper >= 0 ? 0U : unsigned{MOUNT_ATTR_RDONLY});
}

// Names relative to /proc/self/fd are 3 characters per layer: more than kMaxLowers fit in the page.
std::string optionString(const OverlaySpec& spec) {
  std::string options = "lowerdir=";
  for (const int lower : spec.lowers) options += std::to_string(lower) + ":";
  options.pop_back();
  for (const auto& [key, value] : optionsOf(spec)) options += fmt::format(",{}={}", key, value);
  if (spec.userXattr) options += ",userxattr";
  if (spec.upper >= 0) options += fmt::format(",upperdir={},workdir={}", spec.upper, spec.work);
  if (spec.upper >= 0 && spec.isVolatile) options += ",volatile";
  if (options.size() > kMaxOptions) {
    throw Error::make(Kind::unsupported,
                      "the options of a union of {} layers are longer than a page",
                      spec.lowers.size())
        .hint("squash the image");
  }
  return options;
}

// overlayfs takes only folders whose mount lies in the caller's mount namespace. After unshare(2)
// our descriptors still lie in the old one: the same folder is opened again by its path. A new
// layer is given its name in the store by another process meanwhile, once.
Fd openInThisNamespace(int fd) {
  constexpr int kAttempts = 3;
  const struct stat wanted = sys::fstat(fd);
  std::string path;
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    path = sys::readlinkat(AT_FDCWD, fdPath(fd));
    auto again = sys::tryOpenat(AT_FDCWD, path, O_PATH | O_DIRECTORY | O_NOFOLLOW);
    if (!again) continue;
    const struct stat now = sys::fstat(again->get());
    if (wanted.st_dev == now.st_dev && wanted.st_ino == now.st_ino) return std::move(*again);
  }
  throw Error::make(Kind::failed, "{} was replaced while it was being mounted", path);
}

// Runs in a child: nothing it mounts is seen by anybody, and all but the clone goes with it.
Fd mountInPrivateNamespace(OverlaySpec spec) {
  const Fd names = sys::openDirectory(AT_FDCWD, "/proc/self/fd");
  sys::unshare(CLONE_NEWNS);
  sys::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr);
  std::vector<Fd> folders;
  const auto renew = [&](int& fd) {
    folders.push_back(openInThisNamespace(fd));
    fd = folders.back().get();
  };
  for (int& lower : spec.lowers) renew(lower);
  if (spec.upper >= 0 && spec.mapping.isUsed()) renew(spec.mapping.folder);
  if (spec.upper >= 0) renew(spec.upper);
  if (spec.upper >= 0) renew(spec.work);
  // /proc is a folder that is there wherever we run; it is covered only here, and the descriptors'
  // names stay reachable through the folder opened before.
  sys::mount("tmpfs", "/proc", "tmpfs", 0, "size=64k,mode=755");
  sys::mkdirat(AT_FDCWD, "/proc/empty", 0755);
  sys::mkdirat(AT_FDCWD, "/proc/union", 0755);
  // overlayfs wants two lowers when there is no upper: an empty folder is the other one.
  if (spec.lowers.size() == 1 && spec.upper < 0) {
    folders.push_back(sys::openDirectory(AT_FDCWD, "/proc/empty"));
    spec.lowers.push_back(folders.back().get());
  }
  // Attached: overlayfs takes layers of detached mounts since Linux 6.15 only.
  int count = 0;
  const std::vector<Fd> clones = mapLayers(spec, [&](int clone) {
    const std::string place = fmt::format("/proc/{}", count++);
    sys::mkdirat(AT_FDCWD, place, 0755);
    sys::moveMount(clone, AT_FDCWD, place);
  });
  const auto mounter = mounterOf(spec, clones);
  sys::fchdir(names.get());
  const unsigned long flags = spec.upper >= 0 ? 0 : MS_RDONLY;
  sys::mount("overlay", "/proc/union", "overlay", flags, optionString(spec).c_str());
  return sys::openTree(AT_FDCWD, "/proc/union", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
}

Fd mountByCall(const OverlaySpec& spec) {
  auto [ours, theirs] = sys::socketPair();
  Child child = Child::fork([&spec, &socket = theirs] {
    sys::sendFd(socket.get(), mountInPrivateNamespace(spec).get());
    return std::string{};
  });
  child.finish();
  return sys::receiveFd(ours.get());
}

// Mapped layers are detached here, which kernels before 6.15 refuse (EINVAL): nullopt then, too.
std::optional<Fd> tryNewApi(const OverlaySpec& spec, bool hasErofs, OverlayMethod method) {
  try {
    return mountByNewApi(spec, hasErofs);
  } catch (const Error& error) {
    const bool mayBeDetached = spec.mapping.isUsed() && error.errnum() == EINVAL;
    if (!mayBeDetached || method == OverlayMethod::newApi) throw;
    return std::nullopt;
  }
}

}  // namespace

// trusted.* needs CAP_SYS_ADMIN in the machine's own user namespace (xattr(7)).
bool hasTrustedXattrs() {
  return isInMachineNamespace();
}

Fd mountOverlay(OverlaySpec spec, OverlayMethod method) {
  if (copiesUnions()) {
    throw Error{Kind::denied, "a container's root file system cannot be mounted here"}
        .code("userns-denied")
        .why("isolation chroot: this process has neither mounts nor namespaces")
        .hint("images can be built, pulled, pushed and saved; `img doctor` shows what is missing");
  }
  checkSpec(spec);
  spec.userXattr = spec.userXattr || !hasTrustedXattrs();
  try {
    const std::vector<int> ofDevices = dropRepeatedLowers(spec);
    const bool hasErofs = std::any_of(ofDevices.begin(), ofDevices.end(), isErofs);
    dropHiddenLowers(spec);
    // One lower and no upper: see mountInPrivateNamespace. Where EROFS works, a detached empty
    // folder is as good as an attached one.
    bool isSingle = spec.lowers.size() == 1 && spec.upper < 0;
    Fd empty;
    if (isSingle && hasErofs) {
      empty = mountEmpty();
      spec.lowers.push_back(empty.get());
      isSingle = false;
    }
    if (method != OverlayMethod::mountCall && !isSingle) {
      if (auto mount = tryNewApi(spec, hasErofs, method)) return std::move(*mount);
      if (method == OverlayMethod::newApi) {
        throw Error{Kind::unsupported, "this kernel's overlayfs has no \"lowerdir+\""};
      }
    }
    return mountByCall(spec);
  } catch (Error& error) {
    explain(error, spec);
    error.during("mounting the union of {} layers", spec.lowers.size());
    throw;
  }
}

}  // namespace img::store
