#include "runtime/cgroup_view.h"

#include <fcntl.h>
#include <linux/mount.h>
#include <sys/mount.h>

#include "base/log.h"
#include "base/sys.h"
#include "runtime/mounts.h"

namespace img::runtime {
namespace {

constexpr unsigned kInert = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC;
constexpr const char* kRoot = "/sys/fs/cgroup/";
constexpr const char* kTarget = "sys/fs/cgroup";

void mountUnified(int target, bool isWritable) {
  const unsigned readOnly = isWritable ? 0U : unsigned{MOUNT_ATTR_RDONLY};
  try {
    const Fd tree = makeMount("cgroup2", kInert | readOnly, {{"source", "cgroup"}});
    sys::moveMount(tree.get(), target, "");
  } catch (const Error& error) {
    // A user namespace in the host's cgroup namespace: no view is better than a writable one.
    if (error.errnum() != EPERM) throw;
  }
}

}  // namespace

CgroupView prepareCgroupView(const Cgroup& group) {
  CgroupView view;
  view.isUnified = group.isUnified;
  if (group.isUnified || group.entries.empty()) return view;
  for (const std::string& folder : group.folders) {
    if (!folder.starts_with(kRoot)) continue;
    const std::string below = folder.substr(std::string_view{kRoot}.size());
    try {
      Fd tree = cloneMount(AT_FDCWD, folder, false);
      sys::mountSetattr(tree.get(), "", 0, kInert | MOUNT_ATTR_RDONLY, 0, MS_PRIVATE);
      view.trees.emplace_back(below.substr(0, below.find('/')), std::move(tree));
    } catch (const Error& error) {
      log::debug("the container does not see {}: {}", folder, error.cause());
    }
  }
  return view;
}

void mountCgroupView(int root, const CgroupView& view, const Spec& spec) {
  if (!view.isUnified && view.trees.empty()) return;
  const auto target = sys::tryOpenInRoot(root, kTarget, O_PATH | O_DIRECTORY);
  if (!target) return;
  if (view.isUnified) return mountUnified(target->get(), spec.privileged);
  const Fd folder =
      makeMount("tmpfs", kInert, {{"source", "cgroup"}, {"mode", "755"}, {"size", "64k"}});
  for (const auto& [name, tree] : view.trees) sys::mkdirat(folder.get(), name, 0755);
  sys::moveMount(folder.get(), target->get(), "");
  for (const auto& [name, tree] : view.trees) {
    const Fd place = sys::openInRoot(root, std::string{kTarget} + "/" + name, O_PATH | O_DIRECTORY);
    sys::moveMount(tree.get(), place.get(), "");
  }
  sys::mountSetattr(folder.get(), "", 0, MOUNT_ATTR_RDONLY, 0, 0);
}

}  // namespace img::runtime
