#include "store/container_json.h"

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/json.h"

namespace img::store {
namespace {

using Status = ContainerState::Status;

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
                    {"tmpfsOptions", mount.tmpfsOptions}});
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
  }
  return mounts;
}

Json limitsToJson(const LimitRecord& limits) {
  Json out = Json::object();
  const auto put = [&](const char* key, const std::optional<long long>& value) {
    if (value) out[key] = *value;
  };
  put("memory", limits.memory);
  put("memorySwap", limits.memorySwap);
  put("cpuShares", limits.cpuShares);
  put("cpuQuota", limits.cpuQuota);
  put("cpuPeriod", limits.cpuPeriod);
  put("nanoCpus", limits.nanoCpus);
  put("pids", limits.pids);
  put("shmSize", limits.shmSize);
  if (!limits.cpusetCpus.empty()) out["cpusetCpus"] = limits.cpusetCpus;
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
  limits.cpuShares = take("cpuShares");
  limits.cpuQuota = take("cpuQuota");
  limits.cpuPeriod = take("cpuPeriod");
  limits.nanoCpus = take("nanoCpus");
  limits.pids = take("pids");
  limits.shmSize = take("shmSize");
  limits.cpusetCpus = in.value("cpusetCpus", "");
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
  config.extraHosts = json.value("extraHosts", decltype(config.extraHosts){});
  config.labels = json.value("labels", decltype(config.labels){});
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
  config.network = json.value("network", "");
  config.mounts = mountsFromJson(json.value("mounts", Json::array()));
  config.limits = limitsFromJson(json.value("limits", Json::object()));
  config.ulimits = ulimitsFromJson(json.value("ulimits", Json::array()));
  config.tty = json.value("tty", false);
  config.openStdin = json.value("openStdin", false);
  config.autoRemove = json.value("autoRemove", false);
  config.privileged = json.value("privileged", false);
  config.readOnlyRoot = json.value("readOnlyRoot", false);
  config.init = json.value("init", false);
  config.stopSignal = json.value("stopSignal", "");
  config.stopTimeout = json.value("stopTimeout", 10);
  return config;
}

Status statusFromName(const std::string& name) {
  if (name == "running") return Status::running;
  if (name == "paused") return Status::paused;
  if (name == "exited") return Status::exited;
  return Status::created;
}

}  // namespace

std::string_view statusName(Status status) {
  switch (status) {
    case Status::created: return "created";
    case Status::running: return "running";
    case Status::paused: return "paused";
    case Status::exited: return "exited";
  }
  return "created";
}

std::string toJson(const ContainerConfig& config) {
  std::vector<std::string> diffIds;
  for (const Digest& diffId : config.diffIds) diffIds.push_back(diffId.str());
  const Json json = {{"id", config.id},
                     {"name", config.name},
                     {"createdAt", config.createdAt},
                     {"imageName", config.imageName},
                     {"imageId", config.imageId.str()},
                     {"diffIds", diffIds},
                     {"argv", config.argv},
                     {"entrypoint", config.entrypoint},
                     {"command", config.command},
                     {"env", config.env},
                     {"cwd", config.cwd},
                     {"user", config.user},
                     {"hostname", config.hostname},
                     {"network", config.network},
                     {"mounts", mountsToJson(config.mounts)},
                     {"limits", limitsToJson(config.limits)},
                     {"ulimits", ulimitsToJson(config.ulimits)},
                     {"capAdd", config.capAdd},
                     {"capDrop", config.capDrop},
                     {"securityOpt", config.securityOpt},
                     {"groupAdd", config.groupAdd},
                     {"exposedPorts", config.exposedPorts},
                     {"extraHosts", config.extraHosts},
                     {"labels", config.labels},
                     {"tty", config.tty},
                     {"openStdin", config.openStdin},
                     {"autoRemove", config.autoRemove},
                     {"privileged", config.privileged},
                     {"readOnlyRoot", config.readOnlyRoot},
                     {"init", config.init},
                     {"stopSignal", config.stopSignal},
                     {"stopTimeout", config.stopTimeout},
                     // A string, not an object: a list of containers need not parse it.
                     {"image", toJson(config.image)}};
  return dumpJson(json);
}

std::string toJson(const ContainerState& state) {
  const Json json = {{"status", std::string{statusName(state.status)}},
                     {"pid", state.pid},
                     {"startTicks", state.startTicks},
                     {"bootId", state.bootId},
                     {"exitCode", state.exitCode},
                     {"oomKilled", state.oomKilled},
                     {"error", state.error},
                     {"startedAt", state.startedAt},
                     {"finishedAt", state.finishedAt}};
  return dumpJson(json);
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
  return state;
} catch (const Json::exception& error) {
  throw Error::make(Kind::corrupt, "{}: {}", origin, error.what());
}

}  // namespace img::store
