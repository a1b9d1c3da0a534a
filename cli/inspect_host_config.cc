#include "cli/inspect_host_config.h"

#include <cstdlib>
#include <nlohmann/json.hpp>

#include "base/text.h"
#include "cli/container_ports.h"
#include "cli/inspect_namespaces.h"
#include "cli/security_options.h"
#include "cli/values.h"
#include "runtime/rootfs.h"

namespace img::cli {
namespace {

Json listOrNull(const std::vector<std::string>& list) {
  return list.empty() ? Json() : Json(list);
}

bool isFrom(const store::MountRecord& mount, std::string_view option) {
  return mount.option == option;
}

Json bindsOf(const std::vector<store::MountRecord>& mounts) {
  Json binds = Json::array();
  for (const store::MountRecord& mount : mounts) {
    if (!isFrom(mount, "volume") || mount.anonymous) continue;
    std::string bind =
        (mount.type == "volume" ? mount.name : mount.source) + ":" + mount.destination;
    if (!mount.mode.empty()) bind += ":" + mount.mode;
    binds.push_back(std::move(bind));
  }
  return binds.empty() ? Json() : binds;
}

Json tmpfsOf(const std::vector<store::MountRecord>& mounts) {
  Json found = Json::object();
  for (const store::MountRecord& mount : mounts) {
    if (isFrom(mount, "tmpfs")) found[mount.destination] = mount.mode;
  }
  return found;
}

// "size=1048576,mode=1777" of the kernel.
Json tmpfsFacts(const std::string& options) {
  Json facts = Json::object();
  for (const std::string& option : text::split(options, ',')) {
    const auto [key, value] = splitAssignment(option);
    if (key == "mode") facts["Mode"] = std::strtol(value.c_str(), nullptr, 8);
    const auto bytes = text::parseUnsigned(value);  // a share of memory has no number of bytes
    if (key == "size" && bytes) facts["SizeBytes"] = *bytes;
  }
  return facts;
}

// --mount, in the form of docker's API.
Json spelledOut(const store::MountRecord& mount) {
  Json facts = {{"Type", mount.type}, {"Target", mount.destination}};
  if (mount.type == "volume" && !mount.anonymous) facts["Source"] = mount.name;
  if (mount.type == "bind" || mount.type == "image") facts["Source"] = mount.source;
  if (mount.readOnly) facts["ReadOnly"] = true;
  if (!mount.tmpfsOptions.empty()) facts["TmpfsOptions"] = tmpfsFacts(mount.tmpfsOptions);
  if (!mount.propagation.empty()) facts["BindOptions"]["Propagation"] = mount.propagation;
  if (mount.nonRecursive) facts["BindOptions"]["NonRecursive"] = true;
  if (!mount.subpath.empty()) {
    facts[mount.type == "image" ? "ImageOptions" : "VolumeOptions"]["Subpath"] = mount.subpath;
  }
  return facts;
}

Json mountOptionsOf(const std::vector<store::MountRecord>& mounts) {
  Json list = Json::array();
  for (const store::MountRecord& mount : mounts) {
    if (isFrom(mount, "mount")) list.push_back(spelledOut(mount));
  }
  return list.empty() ? Json() : list;
}

void addLimits(const store::LimitRecord& limits, Json& host) {
  host["Memory"] = limits.memory.value_or(0);
  host["MemorySwap"] = limits.memorySwap.value_or(limits.memory.value_or(0) * 2);
  host["MemoryReservation"] = limits.memoryReservation.value_or(0);
  host["BlkioWeight"] = limits.blkioWeight.value_or(0);
  host["OomScoreAdj"] = limits.oomScoreAdj.value_or(0);
  host["NanoCpus"] = limits.nanoCpus.value_or(0);
  host["CpuShares"] = limits.cpuShares.value_or(0);
  host["CpuPeriod"] = limits.cpuPeriod.value_or(0);
  host["CpuQuota"] = limits.cpuQuota.value_or(0);
  host["CpusetCpus"] = limits.cpusetCpus;
  host["CpusetMems"] = limits.cpusetMems;
  host["PidsLimit"] = limits.pids ? Json(*limits.pids) : Json();
  host["ShmSize"] = limits.shmSize.value_or(64 << 20);
}

Json ulimitsOf(const std::vector<store::UlimitRecord>& ulimits) {
  Json facts = Json::array();
  for (const store::UlimitRecord& one : ulimits) {
    facts.push_back({{"Name", one.name}, {"Hard", one.hard}, {"Soft", one.soft}});
  }
  return facts.empty() ? Json() : facts;
}

Json restartFacts(const store::RestartRecord& restart) {
  return {{"Name", restart.policy.empty() ? "no" : restart.policy},
          {"MaximumRetryCount", restart.maximum}};
}

Json logFacts(const store::ContainerConfig& config) {
  return {{"Type", config.logDriver.empty() ? "file" : config.logDriver},
          {"Config", config.logOptions}};
}

Json hostsOf(const store::ContainerConfig& config) {
  Json hosts = Json::array();
  for (const auto& [host, address] : config.extraHosts) {
    hosts.push_back(fmt::format("{}:{}", host, address));
  }
  return hosts.empty() ? Json() : hosts;
}

// Keys of docker that stand for what img does not have: the values they have where nobody asked for
// it, so that what reads all of them finds them.
void addUnused(Json& host) {
  for (const char* key :
       {"BlkioDeviceReadBps", "BlkioDeviceReadIOps", "BlkioDeviceWriteBps", "BlkioDeviceWriteIOps",
        "DeviceCgroupRules", "DeviceRequests", "Links", "MemorySwappiness"}) {
    host[key] = nullptr;
  }
  for (const char* key :
       {"CpuCount", "CpuPercent", "CpuRealtimePeriod", "CpuRealtimeRuntime", "IOMaximumBandwidth",
        "IOMaximumIOps", "KernelMemory", "KernelMemoryTCP"}) {
    host[key] = 0;
  }
  for (const char* key : {"Cgroup", "Isolation", "VolumeDriver"}) host[key] = "";
  host["BlkioWeightDevice"] = Json::array();
  host["ConsoleSize"] = {0, 0};
  host["OomKillDisable"] = false;
  host["Runtime"] = "img";
}

}  // namespace

runtime::Spec rightsOf(const store::ContainerConfig& config) {
  const SecurityOptions options = parseSecurityOptions(config.securityOpt);
  runtime::Spec spec;
  spec.privileged = config.privileged;
  spec.maskedPaths = options.maskedPaths;
  spec.unmaskedPaths = options.unmaskedPaths;
  if (!config.privileged) spec.appArmor = options.appArmor;
  return spec;
}

Json mountFacts(const std::vector<store::MountRecord>& mounts) {
  Json list = Json::array();
  for (const store::MountRecord& mount : mounts) {
    if (isFrom(mount, "tmpfs")) continue;  // docker shows those in HostConfig.Tmpfs alone
    const std::string propagation = mount.propagation.empty() ? "rprivate" : mount.propagation;
    Json facts = {{"Type", mount.type},
                  {"Source", mount.source},
                  {"Destination", mount.destination},
                  {"Mode", mount.mode},
                  {"RW", !mount.readOnly},
                  {"Propagation", mount.type == "bind" ? propagation : ""}};
    if (mount.type == "volume") {
      facts["Name"] = mount.name;
      facts["Driver"] = "local";
    }
    list.push_back(std::move(facts));
  }
  return list;
}

Json hostConfigFacts(const store::ContainerConfig& config, const store::ContainerState& state) {
  const runtime::Spec rights = rightsOf(config);
  const store::NetworkRecord& network = config.networkOptions;
  Json facts = {{"Binds", bindsOf(config.mounts)},
                {"ContainerIDFile", config.idFile},
                {"LogConfig", logFacts(config)},
                {"NetworkMode", config.network},
                {"PortBindings", bindingFacts(network)},
                {"RestartPolicy", restartFacts(config.restart)},
                {"CgroupParent", config.cgroupParent},
                {"AutoRemove", config.autoRemove},
                {"VolumesFrom", listOrNull(config.volumesFrom)},
                {"CapAdd", listOrNull(config.capAdd)},
                {"CapDrop", listOrNull(config.capDrop)},
                {"Dns", network.dns},
                {"DnsOptions", network.dnsOptions},
                {"DnsSearch", network.dnsSearch},
                {"ExtraHosts", hostsOf(config)},
                {"GroupAdd", listOrNull(config.groupAdd)},
                {"Init", config.init},
                {"Privileged", config.privileged},
                {"PublishAllPorts", network.publishAll},
                {"ReadonlyRootfs", config.readOnlyRoot},
                {"SecurityOpt", listOrNull(config.securityOpt)},
                {"Tmpfs", tmpfsOf(config.mounts)},
                {"Ulimits", ulimitsOf(config.ulimits)},
                {"Annotations", config.annotations},
                {"MaskedPaths", runtime::maskedPaths(rights)},
                {"ReadonlyPaths", runtime::readOnlyPaths(rights)}};
  const Json mounts = mountOptionsOf(config.mounts);
  if (!mounts.is_null()) facts["Mounts"] = mounts;
  addLimits(config.limits, facts);
  addUnused(facts);
  facts.update(namespaceFacts(config, state));
  return facts;
}

}  // namespace img::cli
