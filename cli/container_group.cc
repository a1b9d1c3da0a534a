#include "cli/container_group.h"

#include "base/error.h"
#include "base/log.h"
#include "base/sys.h"
#include "cli/container_spec.h"
#include "store/container_names.h"

namespace img::cli {
namespace {

constexpr long long kStepAgeSeconds = 60;

void removeQuietly(runtime::Cgroup group) {
  try {
    group.remove();
  } catch (const Error& error) {
    log::info("{}", error.cause());
  }
}

// nullopt: somebody keeps it, or it went while we looked.
std::optional<FileLock> holdStray(const store::Layout& layout, const std::string& id) {
  const store::Containers containers{layout};
  try {
    // Of this store, and nobody starts it while we clean up.
    if (!sys::tryFstatat(layout.fd(), "containers/" + id)) return std::nullopt;
    if (containers.isHeld(id)) return std::nullopt;
    return containers.tryHold(id);
  } catch (const Error& error) {
    if (error.kind() != Kind::notFound && error.errnum() != ENOENT) throw;
    return std::nullopt;
  }
}

}  // namespace

void applyCgroups(const store::ContainerConfig& config, runtime::Spec& spec) {
  spec.cgroupName = cgroupNameOf(config);
  if (spec.cgroupName.empty()) return;
  spec.isCgroupRequired = config.cgroups == "required";
  spec.limits = limitsOf(config.limits);
}

std::string cgroupNameOf(const store::ContainerConfig& config) {
  if (config.cgroups == "disabled") return {};
  return config.cgroupParent.empty() ? config.id : config.cgroupParent + "/" + config.id;
}

runtime::Cgroup groupOf(const store::ContainerRecord& record) {
  runtime::Cgroup group = runtime::openCgroup(record.state.cgroups);
  if (!group.folders.empty()) return group;
  return runtime::CgroupTree{}.find(cgroupNameOf(record.config));
}

void dropCgroup(const store::ContainerRecord& record) {
  removeQuietly(runtime::openCgroup(record.state.cgroups));
  removeQuietly(runtime::CgroupTree{}.find(cgroupNameOf(record.config)));
}

void dropStrayCgroups(const store::Layout& layout) {
  const runtime::CgroupTree tree;
  bool hasSteps = false;
  for (const std::string& name : tree.names()) {
    if (name.starts_with("step-")) hasSteps = true;
    if (!store::isContainerId(name)) continue;
    const auto lock = holdStray(layout, name);
    if (lock) removeQuietly(tree.find(name));
  }
  if (hasSteps) tree.removeStale("step-", kStepAgeSeconds);
}

}  // namespace img::cli
