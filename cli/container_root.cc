#include "cli/container_root.h"

#include <linux/mount.h>
#include <sched.h>
#include <sys/mount.h>

#include <ctime>
#include <memory>

#include "base/error.h"
#include "base/log.h"
#include "base/sys.h"
#include "cli/container_control.h"
#include "cli/container_spec.h"
#include "cli/mount_sources.h"
#include "cli/shifted_rootfs.h"
#include "runtime/mounts.h"
#include "runtime/namespaces.h"
#include "runtime/paths.h"
#include "store/layers.h"
#include "store/rootfs.h"

namespace img::cli {
namespace {

constexpr int kLockTries = 1000;  // of 10 ms: another copy may be at work

// The volumes and folders of the host that the container has; what is in memory is gone. A source
// that is no longer there is no reason to refuse the rest.
std::vector<runtime::Mount> mountsOf(const store::Layout& layout,
                                     const store::ContainerConfig& config) {
  std::vector<runtime::Mount> mounts;
  for (const store::MountRecord& record : config.mounts) {
    // What is thrown away is not there any more either.
    if (record.type == "tmpfs" || record.overlay) continue;
    try {
      mounts.push_back(openMount(layout, config, record));
    } catch (const Error& error) {
      if (error.kind() != Kind::notFound) throw;
      log::warn("{} is left out: {}", record.destination, error.cause());
    }
  }
  return mounts;
}

void attach(int root, const std::vector<runtime::Mount>& mounts, const std::vector<Fd>& trees) {
  for (size_t i = 0; i < mounts.size(); ++i) {
    const bool isFolder = S_ISDIR(sys::fstat(trees[i].get()).st_mode);
    const Fd target = runtime::openMountTarget(root, mounts[i].target, isFolder);
    sys::moveMount(trees[i].get(), target.get(), "");
  }
}

std::vector<store::MountPoint> mountPointsOf(const std::vector<runtime::Mount>& mounts,
                                             const std::vector<Fd>& trees) {
  std::vector<store::MountPoint> points;
  for (size_t i = 0; i < mounts.size(); ++i) {
    points.push_back({mounts[i].target, S_ISDIR(sys::fstat(trees[i].get()).st_mode)});
  }
  return points;
}

bool hasOtherIds(const store::ContainerRecord& record) {
  return openProcess(record.state) && runtime::isOtherNamespace(record.state.pid, "user");
}

}  // namespace

// Its processes see the files with their own ids, and so does who looks through them. On the disk
// they have those of the inside: reading goes there.
void ContainerRoot::openMapped(const store::Layout& layout, const store::ContainerRecord& record,
                               RootAccess access) {
  if (access == RootAccess::write) {
    throw Error::make(Kind::unsupported,
                      "cannot copy into container {} while it runs in a user namespace of its own",
                      record.config.name)
        .code("idmap")
        .hint(fmt::format("stop it first, or: tar -c FILE | img exec -i {} tar -x -C DIR",
                          record.config.name));
  }
  mountStopped(layout, record.config, access);
}

ContainerRoot::ContainerRoot(const store::Layout& layout, const store::ContainerRecord& record,
                             RootAccess access) {
  requireOwnIds(layout, record);
  if (hasOtherIds(record)) {
    openMapped(layout, record, access);
    return;
  }
  if (tryRunning(record)) return;
  const store::Containers containers{layout};
  for (int tries = 0; access == RootAccess::write && !lock_; ++tries) {
    lock_ = containers.tryHold(record.config.id);
    // Whoever holds it is copying too, or has started it meanwhile.
    if (!lock_ && tryRunning(containers.get(record.config.id))) return;
    if (!lock_ && tries == kLockTries) {
      throw Error::make(Kind::busy, "container {} is being started, stopped or copied to",
                        record.config.name);
    }
    const timespec pause{0, 10'000'000};
    if (!lock_) ::nanosleep(&pause, nullptr);
  }
  mountStopped(layout, record.config, access);
}

bool ContainerRoot::tryRunning(const store::ContainerRecord& record) {
  const auto pidfd = openProcess(record.state);
  if (!pidfd) return false;
  // proc_pid_root(5): the root in the mount namespace of the process. Only the path to it is the
  // host's; what lies below is looked up in that root.
  root_ =
      sys::openat(AT_FDCWD, fmt::format("/proc/{}/root", record.state.pid), O_PATH | O_DIRECTORY);
  // The number may have been given to another process between the two opens.
  if (!sys::pidfdSendSignal(pidfd->get(), 0)) {
    throw Error::make(Kind::failed, "container {} has just ended", record.config.name);
  }
  return true;
}

void ContainerRoot::mountStopped(const store::Layout& layout, const store::ContainerConfig& config,
                                 RootAccess access) {
  ensureLayers(layout, config);
  const bool isWrite = access == RootAccess::write;
  std::vector<Fd> open;
  store::RootfsSpec spec;
  const auto add = [&](Fd folder) {
    spec.layers.push_back(folder.get());
    open.push_back(std::move(folder));
  };
  const Fd folder = store::Containers{layout}.folder(config.id);
  Fd upper = sys::openDirectory(folder.get(), "upper");
  const Fd work = sys::openDirectory(folder.get(), "work");
  if (isWrite) {
    spec.upper = upper.get();
    spec.work = work.get();
  } else {
    // A union without an upper changes nothing, needs no lock and costs no sync when it goes.
    add(std::move(upper));
    auto init = sys::tryOpenat(layout.fd(), initPath(layout, config), O_RDONLY | O_DIRECTORY);
    if (init) add(std::move(*init));
  }
  const store::Layers layers{layout};
  for (auto diffId = config.diffIds.rbegin(); diffId != config.diffIds.rend(); ++diffId) {
    add(layers.open(*diffId));
  }
  // For reading, what the container lacks of mount points is made beside it, not in it.
  if (!isWrite) scratch_.emplace(layout);
  const Fd init =
      isWrite ? openInit(layout, config, false) : sys::openDirectory(scratch_->fd(), ".");
  spec.init = init.get();
  const std::vector<runtime::Mount> mounts = mountsOf(layout, config);
  const std::vector<Fd> trees = runtime::prepareMounts(mounts);
  if (!isWrite) spec.mountPoints = mountPointsOf(mounts, trees);
  root_ = store::mountRootfs(spec);
  // The mounts below the root must be attached somewhere, and nobody but us may see them.
  sys::unshare(CLONE_NEWNS);
  sys::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr);
  sys::moveMount(root_.get(), AT_FDCWD, "/");
  attach(root_.get(), mounts, trees);
  std::uint64_t attributes = MOUNT_ATTR_NODEV | MOUNT_ATTR_NOSUID;
  if (config.readOnlyRoot && isWrite) attributes |= MOUNT_ATTR_RDONLY;
  sys::mountSetattr(root_.get(), "", 0, attributes, 0);
}

}  // namespace img::cli
