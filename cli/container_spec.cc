#include "cli/container_spec.h"

#include <linux/mount.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <climits>

#include "base/digest.h"
#include "base/error.h"
#include "base/fs.h"
#include "base/sys.h"
#include "base/text.h"
#include "cli/container_group.h"
#include "cli/container_namespaces.h"
#include "cli/mount_sources.h"
#include "cli/security_options.h"
#include "cli/shifted_rootfs.h"
#include "runtime/command.h"
#include "runtime/resource_limits.h"
#include "runtime/security.h"
#include "runtime/terminal.h"
#include "runtime/user_namespace.h"
#include "store/images.h"
#include "store/layers.h"
#include "store/rootfs.h"
#include "store/volumes.h"

namespace img::cli {
namespace {

constexpr long long kDefaultPeriodUs = 100'000;

bool hasKey(const std::vector<std::string>& env, std::string_view keyAndEquals) {
  return std::any_of(env.begin(), env.end(),
                     [&](const std::string& known) { return known.starts_with(keyAndEquals); });
}

std::string hostHostname() {
  char name[HOST_NAME_MAX + 1] = {};
  sys::check([&] { return ::gethostname(name, sizeof name - 1); }, "gethostname");
  return name;
}

// The other two of /etc depend on the network (container_network.h).
void addFiles(const store::ContainerConfig& config, runtime::Spec& spec) {
  constexpr char kHostname[] = "/etc/hostname";
  spec.filesReadOnly = config.readOnlyRoot;
  // What the user mounts there wins.
  const bool isMountedOver =
      std::any_of(config.mounts.begin(), config.mounts.end(),
                  [&](const store::MountRecord& mount) { return mount.destination == kHostname; });
  if (isMountedOver || config.networkOptions.noHostname) return;
  spec.files.emplace_back(kHostname, spec.hostname + "\n");
}

std::string sharedInitPath(const store::ContainerConfig& config) {
  Hasher hasher;
  for (const Digest& diffId : config.diffIds) hasher.field(diffId.hex());
  return "cache/init/" + hasher.finish().hex();
}

std::string ownInitPath(const store::ContainerConfig& config) {
  return "containers/" + config.id + "/init";
}

}  // namespace

Fd openInit(const store::Layout& layout, const store::ContainerConfig& config, bool mayShare) {
  if (mayShare) {
    auto shared = sys::tryOpenat(layout.fd(), sharedInitPath(config), O_RDONLY | O_DIRECTORY);
    if (shared) return std::move(*shared);
  }
  sys::tryMkdirat(layout.fd(), ownInitPath(config), 0755);
  return sys::openDirectory(layout.fd(), ownInitPath(config));
}

runtime::Limits limitsOf(const store::LimitRecord& record) {
  runtime::Limits limits;
  limits.memory = record.memory;
  limits.memorySwap = record.memorySwap;
  limits.cpuShares = record.cpuShares;
  limits.cpuQuota = record.cpuQuota;
  limits.cpuPeriod = record.cpuPeriod;
  limits.cpusetCpus = record.cpusetCpus;
  limits.cpusetMems = record.cpusetMems;
  limits.memoryReservation = record.memoryReservation;
  limits.ioWeight = record.blkioWeight;
  if (record.nanoCpus) {
    limits.cpuPeriod = kDefaultPeriodUs;
    limits.cpuQuota = *record.nanoCpus / (1'000'000'000 / kDefaultPeriodUs);
  }
  // 0 means unlimited as well (docker).
  if (record.pids) limits.pids = *record.pids > 0 ? *record.pids : -1;
  return limits;
}

std::vector<runtime::ResourceLimit> resourceLimitsOf(
    const std::vector<store::UlimitRecord>& ulimits) {
  const auto raw = [](long long value) {
    return value < 0 ? RLIM_INFINITY : static_cast<rlim_t>(value);
  };
  std::vector<runtime::ResourceLimit> limits;
  for (const store::UlimitRecord& one : ulimits) {
    const auto resource = runtime::resourceByName(one.name);
    if (!resource) throw Error::make(Kind::corrupt, "unknown limit {}", text::quote(one.name));
    limits.push_back({*resource, raw(one.soft), raw(one.hard)});
  }
  return limits;
}

std::string initPath(const store::Layout& layout, const store::ContainerConfig& config) {
  const bool hasOwn = sys::tryFstatat(layout.fd(), ownInitPath(config)).has_value();
  return hasOwn || !config.autoRemove ? ownInitPath(config) : sharedInitPath(config);
}

void shareInit(const store::Layout& layout, const store::ContainerConfig& config) {
  const auto own = sys::tryOpenat(layout.fd(), ownInitPath(config), O_RDONLY | O_DIRECTORY);
  // An image that has every mount point needs none.
  if (!own || fs::list(own->get()).empty()) return;
  sys::tryMkdirat(layout.fd(), "cache/init", 0700);
  sys::renameNoReplace(layout.fd(), ownInitPath(config), layout.fd(), sharedInitPath(config));
}

void takeWindowSize(runtime::Spec& spec) {
  const auto size = runtime::windowSize(STDIN_FILENO);
  if (!size) return;
  spec.ttyRows = size->rows;
  spec.ttyColumns = size->columns;
}

std::string hostnameOf(const store::ContainerConfig& config) {
  if (!config.hostname.empty()) return config.hostname;
  return config.network == "host" || config.namespaces.uts == "host" ? hostHostname()
                                                                     : config.id.substr(0, 12);
}

std::vector<std::string> environmentOf(const store::ContainerConfig& config, bool tty) {
  std::vector<std::string> env;
  if (!hasKey(config.env, "PATH=")) env.push_back("PATH=" + std::string{runtime::kDefaultPath});
  if (!hasKey(config.env, "HOSTNAME=")) env.push_back("HOSTNAME=" + hostnameOf(config));
  if (tty && !hasKey(config.env, "TERM=")) env.emplace_back("TERM=xterm");
  env.insert(env.end(), config.env.begin(), config.env.end());
  return env;
}

const Confinement& confinementOf(const store::ContainerConfig& config) {
  return *parseSecurityOptions(config.securityOpt).confinement;
}

std::uint64_t capabilitiesOf(const store::ContainerConfig& config) {
  const std::uint64_t base =
      config.privileged ? runtime::parseCapability("ALL") : confinementOf(config).capabilities;
  return runtime::capabilitySet(base, config.capAdd, config.capDrop);
}

void applyRights(const store::ContainerConfig& config, runtime::Spec& spec) {
  spec.resourceLimits = resourceLimitsOf(config.ulimits);
  spec.privileged = config.privileged;
  spec.capabilities = capabilitiesOf(config);
  spec.addedCapabilities = runtime::capabilitySet(0, config.capAdd, {});
  parseSecurityOptions(config.securityOpt).applyTo(spec);
}

void ensureLayers(const store::Layout& layout, const store::ContainerConfig& config) {
  const store::Layers layers{layout};
  const bool complete = std::all_of(config.diffIds.begin(), config.diffIds.end(),
                                    [&](const Digest& diffId) { return layers.has(diffId); });
  if (complete) return;
  const store::Image image = store::Images{layout}.get(config.imageId.str());
  layers.ensureAll(image.config.diffIds, image.manifest.layers);
}

OpenedLayers openLayers(const store::Layout& layout, const store::ContainerConfig& config) {
  const store::Layers layers{layout};
  OpenedLayers opened;
  for (auto diffId = config.diffIds.rbegin(); diffId != config.diffIds.rend(); ++diffId) {
    auto layer = layers.tryOpen(*diffId);
    if (!layer) {
      ensureLayers(layout, config);
      layer = layers.tryOpen(*diffId);
    }
    if (!layer) layer.emplace(store::OpenedLayer{layers.open(*diffId)});  // throws
    opened.push_back(std::move(*layer));
  }
  return opened;
}

PreparedContainer prepareContainer(const store::Layout& layout,
                                   const store::ContainerConfig& config, bool isThrowaway,
                                   OpenedLayers layers) {
  PreparedContainer prepared;
  const bool isOpen = layers.size() == config.diffIds.size();
  prepared.layers = isOpen ? std::move(layers) : openLayers(layout, config);
  prepared.folder = store::Containers{layout}.folder(config.id);
  prepared.upper = sys::openDirectory(prepared.folder.get(), "upper");
  prepared.work = sys::openDirectory(prepared.folder.get(), "work");
  prepared.init = openInit(layout, config, isThrowaway);

  runtime::Spec& spec = prepared.spec;
  spec.argv = config.argv;
  spec.env = environmentOf(config, config.tty);
  spec.cwd = config.cwd;
  spec.user = config.user;
  spec.groupAdd = config.groupAdd;
  spec.hostname = hostnameOf(config);
  spec.tty = config.tty;
  spec.network = config.network == "host" ? runtime::Network::host : runtime::Network::none;
  spec.readOnlyRoot = config.readOnlyRoot;
  spec.init = config.init;
  spec.umask = static_cast<mode_t>(config.umask);
  applyCgroups(config, spec);
  if (config.limits.shmSize) spec.shmSize = static_cast<std::uint64_t>(*config.limits.shmSize);
  applyRights(config, spec);
  spec.limits.defaultPids = confinementOf(config).pids;
  spec.mounts = openMounts(layout, config);
  addFiles(config, spec);

  store::RootfsSpec rootfs;
  for (const store::OpenedLayer& layer : prepared.layers) {
    rootfs.layers.push_back(layer.folder.get());
    if (layer.isMount) spec.layerMounts.push_back(layer.folder.get());
  }
  rootfs.upper = prepared.upper.get();
  rootfs.work = prepared.work.get();
  rootfs.init = prepared.init.get();
  rootfs.isVolatile = isThrowaway;
  spec.mountRootfs = [rootfs] { return store::mountRootfs(rootfs); };
  spec.mountMappedRootfs = [rootfs, folder = prepared.folder.get(), &layout,
                            &config](int user) mutable {
    if (!runtime::isInitialUserNamespace()) {
      return mountShifted(layout, config, rootfs, ownIds(config.namespaces));
    }
    rootfs.mapping = {user, folder};
    return store::mountRootfs(rootfs);
  };
  return prepared;
}

}  // namespace img::cli
