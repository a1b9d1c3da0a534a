#include "store/container_json.h"

#include <nlohmann/json.hpp>
#include <type_traits>
#include <utility>

#include "base/error.h"
#include "base/json.h"

namespace img::store {
namespace {

using Status = ContainerState::Status;

// An object without the members whose values the reader assumes when they are not there: nothing,
// no and zero, which is what most of a container's are. Records are written at every start and read
// by every command about a container.
class Fields {
 public:
  template <class Value>
  Fields& add(const char* key, const Value& value) {
    return isAssumed(value) ? *this : always(key, value);
  }
  template <class Value>
  Fields& always(const char* key, const Value& value) {
    out_[key] = value;
    return *this;
  }
  [[nodiscard]] Json take() { return std::move(out_); }

 private:
  template <class Value>
  static bool isAssumed(const Value& value) {
    if constexpr (std::is_arithmetic_v<Value>) {
      return value == Value{};
    } else {
      return value.empty();
    }
  }
  Json out_ = Json::object();
};

Json mountsToJson(const std::vector<MountRecord>& mounts) {
  Json list = Json::array();
  for (const MountRecord& mount : mounts) {
    list.push_back({{"type", mount.type},
                    {"name", mount.name},
                    {"source", mount.source},
                    {"destination", mount.destination},
                    {"mode", mount.mode},
                    {"readOnly", mount.readOnly},
                    {"anonymous", mount.anonymous},
                    {"noExec", mount.noExec},
                    {"noSuid", mount.noSuid},
                    {"noDev", mount.noDev},
                    {"tmpfsOptions", mount.tmpfsOptions},
                    {"image", mount.image},
                    {"subpath", mount.subpath},
                    {"propagation", mount.propagation},
                    {"nonRecursive", mount.nonRecursive},
                    {"overlay", mount.overlay},
                    {"option", mount.option}});
  }
  return list;
}

std::vector<MountRecord> mountsFromJson(const Json& list) {
  std::vector<MountRecord> mounts;
  for (const Json& item : list) {
    MountRecord& mount = mounts.emplace_back();
    mount.type = item.value("type", "");
    mount.name = item.value("name", "");
    mount.source = item.value("source", "");
    mount.destination = item.value("destination", "");
    mount.mode = item.value("mode", "");
    mount.readOnly = item.value("readOnly", false);
    mount.anonymous = item.value("anonymous", false);
    mount.noExec = item.value("noExec", false);
    mount.noSuid = item.value("noSuid", false);
    mount.noDev = item.value("noDev", false);
    mount.tmpfsOptions = item.value("tmpfsOptions", "");
    mount.image = item.value("image", "");
    mount.subpath = item.value("subpath", "");
    mount.propagation = item.value("propagation", "");
    mount.nonRecursive = item.value("nonRecursive", false);
    mount.overlay = item.value("overlay", false);
    mount.option = item.value("option", "");
  }
  return mounts;
}

Json portsToJson(const std::vector<PortRecord>& ports) {
  Json list = Json::array();
  for (const PortRecord& port : ports) {
    list.push_back({{"hostIp", port.hostIp},
                    {"hostPort", port.hostPort},
                    {"containerPort", port.containerPort},
                    {"protocol", port.protocol}});
  }
  return list;
}

std::vector<PortRecord> portsFromJson(const Json& list) {
  std::vector<PortRecord> ports;
  for (const Json& item : list) {
    PortRecord& port = ports.emplace_back();
    port.hostIp = item.value("hostIp", "");
    port.hostPort = item.value("hostPort", std::uint16_t{0});
    port.containerPort = item.value("containerPort", std::uint16_t{0});
    port.protocol = item.value("protocol", "tcp");
  }
  return ports;
}

using Strings = std::vector<std::string>;

Json networkToJson(const NetworkRecord& network) {
  Fields fields;
  fields.add("ports", portsToJson(network.ports))
      .add("publishAll", network.publishAll)
      .add("dns", network.dns)
      .add("dnsSearch", network.dnsSearch)
      .add("dnsOptions", network.dnsOptions)
      .add("aliases", network.aliases)
      .add("address", network.address)
      .add("macAddress", network.macAddress)
      .add("noHosts", network.noHosts)
      .add("noHostname", network.noHostname);
  return fields.take();
}

NetworkRecord networkFromJson(const Json& in) {
  NetworkRecord network;
  network.ports = portsFromJson(in.value("ports", Json::array()));
  network.publishAll = in.value("publishAll", false);
  network.dns = in.value("dns", Strings{});
  network.dnsSearch = in.value("dnsSearch", Strings{});
  network.dnsOptions = in.value("dnsOptions", Strings{});
  network.aliases = in.value("aliases", Strings{});
  network.address = in.value("address", "");
  network.macAddress = in.value("macAddress", "");
  network.noHosts = in.value("noHosts", false);
  network.noHostname = in.value("noHostname", false);
  return network;
}

template <class Number>
void putOptional(Json& out, const char* key, const std::optional<Number>& value) {
  if (value) out[key] = *value;
}

template <class Number>
std::optional<Number> takeOptional(const Json& in, const char* key) {
  if (!in.contains(key)) return std::nullopt;
  return in.at(key).get<Number>();
}

Json namespacesToJson(const NamespaceRecord& names) {
  Fields fields;
  fields.add("pid", names.pid)
      .add("ipc", names.ipc)
      .add("uts", names.uts)
      .add("user", names.user)
      .add("cgroup", names.cgroup)
      .add("uidMap", names.uidMap)
      .add("gidMap", names.gidMap);
  Json out = fields.take();
  putOptional(out, "monotonicOffset", names.monotonicOffset);
  putOptional(out, "boottimeOffset", names.boottimeOffset);
  return out;
}

NamespaceRecord namespacesFromJson(const Json& in) {
  return {in.value("pid", ""),
          in.value("ipc", ""),
          in.value("uts", ""),
          in.value("user", ""),
          in.value("cgroup", ""),
          in.value("uidMap", Strings{}),
          in.value("gidMap", Strings{}),
          takeOptional<long long>(in, "monotonicOffset"),
          takeOptional<long long>(in, "boottimeOffset")};
}

Json healthToJson(const HealthRecord& health) {
  Fields fields;
  fields.add("disabled", health.isDisabled)
      .add("test", health.test)
      .add("onFailure", health.onFailure);
  Json out = fields.take();
  putOptional(out, "interval", health.interval);
  putOptional(out, "timeout", health.timeout);
  putOptional(out, "startPeriod", health.startPeriod);
  putOptional(out, "startInterval", health.startInterval);
  putOptional(out, "retries", health.retries);
  return out;
}

HealthRecord healthFromJson(const Json& in) {
  HealthRecord health;
  health.isDisabled = in.value("disabled", false);
  health.test = in.value("test", Strings{});
  health.onFailure = in.value("onFailure", "");
  health.interval = takeOptional<long long>(in, "interval");
  health.timeout = takeOptional<long long>(in, "timeout");
  health.startPeriod = takeOptional<long long>(in, "startPeriod");
  health.startInterval = takeOptional<long long>(in, "startInterval");
  health.retries = takeOptional<int>(in, "retries");
  return health;
}

Json devicesToJson(const std::vector<DeviceRecord>& devices) {
  Json list = Json::array();
  for (const DeviceRecord& device : devices) {
    list.push_back({{"source", device.source},
                    {"destination", device.destination},
                    {"access", device.access}});
  }
  return list;
}

std::vector<DeviceRecord> devicesFromJson(const Json& list) {
  std::vector<DeviceRecord> devices;
  for (const Json& item : list) {
    devices.push_back(
        {item.value("source", ""), item.value("destination", ""), item.value("access", "")});
  }
  return devices;
}

Json healthLogToJson(const std::vector<ContainerState::HealthResult>& log) {
  Json list = Json::array();
  for (const auto& result : log) {
    list.push_back({{"start", result.start},
                    {"end", result.end},
                    {"exitCode", result.exitCode},
                    {"output", result.output}});
  }
  return list;
}

std::vector<ContainerState::HealthResult> healthLogFromJson(const Json& list) {
  std::vector<ContainerState::HealthResult> log;
  for (const Json& item : list) {
    log.push_back({item.value("start", ""), item.value("end", ""), item.value("exitCode", 0),
                   item.value("output", "")});
  }
  return log;
}

Json limitsToJson(const LimitRecord& limits) {
  Json out = Json::object();
  const auto put = [&](const char* key, const std::optional<long long>& value) {
    if (value) out[key] = *value;
  };
  put("memory", limits.memory);
  put("memorySwap", limits.memorySwap);
  put("memoryReservation", limits.memoryReservation);
  put("blkioWeight", limits.blkioWeight);
  put("oomScoreAdj", limits.oomScoreAdj);
  put("cpuShares", limits.cpuShares);
  put("cpuQuota", limits.cpuQuota);
  put("cpuPeriod", limits.cpuPeriod);
  put("nanoCpus", limits.nanoCpus);
  put("pids", limits.pids);
  put("shmSize", limits.shmSize);
  if (!limits.cpusetCpus.empty()) out["cpusetCpus"] = limits.cpusetCpus;
  if (!limits.cpusetMems.empty()) out["cpusetMems"] = limits.cpusetMems;
  return out;
}

LimitRecord limitsFromJson(const Json& in) {
  const auto take = [&](const char* key) -> std::optional<long long> {
    if (!in.contains(key)) return std::nullopt;
    return in.at(key).get<long long>();
  };
  LimitRecord limits;
  limits.memory = take("memory");
  limits.memorySwap = take("memorySwap");
  limits.memoryReservation = take("memoryReservation");
  limits.blkioWeight = take("blkioWeight");
  limits.oomScoreAdj = take("oomScoreAdj");
  limits.cpuShares = take("cpuShares");
  limits.cpuQuota = take("cpuQuota");
  limits.cpuPeriod = take("cpuPeriod");
  limits.nanoCpus = take("nanoCpus");
  limits.pids = take("pids");
  limits.shmSize = take("shmSize");
  limits.cpusetCpus = in.value("cpusetCpus", "");
  limits.cpusetMems = in.value("cpusetMems", "");
  return limits;
}

Json ulimitsToJson(const std::vector<UlimitRecord>& ulimits) {
  Json list = Json::array();
  for (const UlimitRecord& one : ulimits) {
    list.push_back({{"name", one.name}, {"soft", one.soft}, {"hard", one.hard}});
  }
  return list;
}

std::vector<UlimitRecord> ulimitsFromJson(const Json& list) {
  std::vector<UlimitRecord> ulimits;
  for (const Json& item : list) {
    ulimits.push_back({item.value("name", ""), item.value("soft", 0LL), item.value("hard", 0LL)});
  }
  return ulimits;
}

std::vector<std::string> strings(const Json& json, const char* key) {
  return json.value(key, std::vector<std::string>{});
}

void readLists(const Json& json, ContainerConfig& config) {
  for (const std::string& diffId : strings(json, "diffIds"))
    config.diffIds.push_back(Digest::parse(diffId));
  config.argv = strings(json, "argv");
  config.entrypoint = strings(json, "entrypoint");
  config.command = strings(json, "command");
  config.env = strings(json, "env");
  config.capAdd = strings(json, "capAdd");
  config.capDrop = strings(json, "capDrop");
  config.securityOpt = strings(json, "securityOpt");
  config.groupAdd = strings(json, "groupAdd");
  config.exposedPorts = strings(json, "exposedPorts");
  config.volumesFrom = strings(json, "volumesFrom");
  config.extraHosts = json.value("extraHosts", decltype(config.extraHosts){});
  config.sysctls = json.value("sysctls", decltype(config.sysctls){});
  config.labels = json.value("labels", decltype(config.labels){});
  config.annotations = json.value("annotations", decltype(config.annotations){});
  config.logOptions = json.value("logOptions", decltype(config.logOptions){});
}

ContainerConfig configFromJson(const Json& json) {
  ContainerConfig config;
  config.id = json.value("id", "");
  config.name = json.value("name", "");
  config.createdAt = json.value("createdAt", "");
  config.imageName = json.value("imageName", "");
  config.imageId = Digest::parse(json.value("imageId", ""));
  readLists(json, config);
  config.cwd = json.value("cwd", "");
  config.user = json.value("user", "");
  config.hostname = json.value("hostname", "");
  config.domainname = json.value("domainname", "");
  config.network = json.value("network", "");
  config.networkOptions = networkFromJson(json.value("networkOptions", Json::object()));
  config.namespaces = namespacesFromJson(json.value("namespaces", Json::object()));
  config.health = healthFromJson(json.value("health", Json::object()));
  config.restart.policy = json.value("restartPolicy", "");
  config.restart.maximum = json.value("restartMaximum", 0);
  config.devices = devicesFromJson(json.value("devices", Json::array()));
  config.cgroups = json.value("cgroups", "");
  config.cgroupParent = json.value("cgroupParent", "");
  config.mounts = mountsFromJson(json.value("mounts", Json::array()));
  config.limits = limitsFromJson(json.value("limits", Json::object()));
  config.ulimits = ulimitsFromJson(json.value("ulimits", Json::array()));
  config.tty = json.value("tty", false);
  config.openStdin = json.value("openStdin", false);
  config.autoRemove = json.value("autoRemove", false);
  config.timeout = json.value("timeout", 0LL);
  config.logDriver = json.value("logDriver", "");
  config.logMaxSize = json.value("logMaxSize", 0LL);
  config.logMaxFiles = json.value("logMaxFiles", 0);
  config.privileged = json.value("privileged", false);
  config.readOnlyRoot = json.value("readOnlyRoot", false);
  config.init = json.value("init", false);
  config.stopSignal = json.value("stopSignal", "");
  config.stopTimeout = json.value("stopTimeout", 10);
  config.idFile = json.value("idFile", "");
  config.umask = json.value("umask", 022);
  return config;
}

Status statusFromName(const std::string& name) {
  if (name == "running") return Status::running;
  if (name == "paused") return Status::paused;
  if (name == "restarting") return Status::restarting;
  if (name == "exited") return Status::exited;
  return Status::created;
}

}  // namespace

std::string_view statusName(Status status) {
  switch (status) {
    case Status::created: return "created";
    case Status::running: return "running";
    case Status::paused: return "paused";
    case Status::restarting: return "restarting";
    case Status::exited: return "exited";
  }
  return "created";
}

std::string toJson(const ContainerConfig& config) {
  std::vector<std::string> diffIds;
  for (const Digest& diffId : config.diffIds) diffIds.push_back(diffId.str());
  Fields fields;
  fields.add("id", config.id)
      .add("name", config.name)
      .add("createdAt", config.createdAt)
      .add("imageName", config.imageName)
      .add("imageId", config.imageId.str())
      .add("diffIds", diffIds)
      .add("argv", config.argv)
      .add("entrypoint", config.entrypoint)
      .add("command", config.command)
      .add("env", config.env)
      .add("cwd", config.cwd)
      .add("user", config.user)
      .add("hostname", config.hostname)
      .add("domainname", config.domainname)
      .add("network", config.network)
      .add("networkOptions", networkToJson(config.networkOptions))
      .add("namespaces", namespacesToJson(config.namespaces))
      .add("health", healthToJson(config.health))
      .add("restartPolicy", config.restart.policy)
      .add("restartMaximum", config.restart.maximum)
      .add("devices", devicesToJson(config.devices))
      .add("sysctls", config.sysctls)
      .add("cgroups", config.cgroups)
      .add("cgroupParent", config.cgroupParent)
      .add("annotations", config.annotations)
      .add("mounts", mountsToJson(config.mounts))
      .add("limits", limitsToJson(config.limits))
      .add("ulimits", ulimitsToJson(config.ulimits))
      .add("capAdd", config.capAdd)
      .add("capDrop", config.capDrop)
      .add("securityOpt", config.securityOpt)
      .add("groupAdd", config.groupAdd)
      .add("exposedPorts", config.exposedPorts)
      .add("extraHosts", config.extraHosts)
      .add("labels", config.labels)
      .add("tty", config.tty)
      .add("openStdin", config.openStdin)
      .add("autoRemove", config.autoRemove)
      .add("timeout", config.timeout)
      .add("logDriver", config.logDriver)
      .add("logMaxSize", config.logMaxSize)
      .add("logMaxFiles", config.logMaxFiles)
      .add("logOptions", config.logOptions)
      .add("volumesFrom", config.volumesFrom)
      .add("idFile", config.idFile)
      .always("umask", config.umask)
      .add("privileged", config.privileged)
      .add("readOnlyRoot", config.readOnlyRoot)
      .add("init", config.init)
      .add("stopSignal", config.stopSignal)
      .always("stopTimeout", config.stopTimeout)
      // A string, not an object: a list of containers need not parse it.
      .add("image", toJson(config.image));
  return dumpJson(fields.take());
}

std::string toJson(const ContainerState& state) {
  Fields fields;
  fields.add("status", std::string{statusName(state.status)})
      .add("pid", state.pid)
      .add("startTicks", state.startTicks)
      .add("bootId", state.bootId)
      .add("exitCode", state.exitCode)
      .add("oomKilled", state.oomKilled)
      .add("error", state.error)
      .add("startedAt", state.startedAt)
      .add("finishedAt", state.finishedAt)
      .add("restartCount", state.restartCount)
      .add("cgroups", state.cgroups)
      .add("address", state.address)
      .add("gateway", state.gateway)
      .add("macAddress", state.macAddress)
      .add("prefixLength", state.prefixLength)
      .add("ports", portsToJson(state.ports))
      .add("healthStatus", state.healthStatus)
      .add("failingStreak", state.failingStreak)
      .add("healthLog", healthLogToJson(state.healthLog));
  return dumpJson(fields.take());
}

ContainerConfig parseContainerConfig(std::string_view text, std::string_view origin,
                                     bool withImage) try {
  const Json json = parseJson(text, origin);
  ContainerConfig config = configFromJson(json);
  if (withImage) config.image = parseConfig(json.value("image", ""), origin);
  return config;
} catch (const Json::exception& error) {
  throw Error::make(Kind::corrupt, "{}: {}", origin, error.what());
}

ContainerState parseContainerState(std::string_view text, std::string_view origin) try {
  const Json json = parseJson(text, origin);
  ContainerState state;
  state.status = statusFromName(json.value("status", ""));
  state.pid = json.value("pid", 0);
  state.startTicks = json.value("startTicks", std::uint64_t{0});
  state.bootId = json.value("bootId", "");
  state.exitCode = json.value("exitCode", 0);
  state.oomKilled = json.value("oomKilled", false);
  state.error = json.value("error", "");
  state.startedAt = json.value("startedAt", "");
  state.finishedAt = json.value("finishedAt", "");
  state.restartCount = json.value("restartCount", 0);
  state.cgroups = json.value("cgroups", Strings{});
  state.address = json.value("address", "");
  state.gateway = json.value("gateway", "");
  state.macAddress = json.value("macAddress", "");
  state.prefixLength = json.value("prefixLength", 0);
  state.ports = portsFromJson(json.value("ports", Json::array()));
  state.healthStatus = json.value("healthStatus", "");
  state.failingStreak = json.value("failingStreak", 0);
  state.healthLog = healthLogFromJson(json.value("healthLog", Json::array()));
  return state;
} catch (const Json::exception& error) {
  throw Error::make(Kind::corrupt, "{}: {}", origin, error.what());
}

}  // namespace img::store
