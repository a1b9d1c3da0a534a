// What `img inspect` tells about a container, under docker's key names (cli.md 11).
#include <nlohmann/json.hpp>

#include "base/sys.h"
#include "cli/container_ports.h"
#include "cli/container_size.h"
#include "cli/container_spec.h"
#include "cli/health.h"
#include "cli/inspect.h"
#include "cli/inspect_namespaces.h"
#include "cli/network_options.h"
#include "cli/security_options.h"
#include "runtime/rootfs.h"
#include "store/containers.h"

namespace img::cli {
namespace {

using Status = store::ContainerState::Status;

constexpr char kNever[] = "0001-01-01T00:00:00Z";

Json listOrNull(const std::vector<std::string>& list) {
  return list.empty() ? Json() : Json(list);
}

Json healthFacts(const store::ContainerState& state) {
  if (state.healthStatus.empty()) return {};
  Json log = Json::array();
  for (const auto& result : state.healthLog) {
    log.push_back({{"Start", result.start},
                   {"End", result.end},
                   {"ExitCode", result.exitCode},
                   {"Output", result.output}});
  }
  return {{"Status", state.healthStatus},
          {"FailingStreak", state.failingStreak},
          {"Log", std::move(log)}};
}

Json stateFacts(const store::ContainerState& state) {
  return {{"Status", std::string{store::statusName(state.status)}},
          {"Running", state.isAlive()},
          {"Paused", state.status == Status::paused},
          {"Restarting", state.status == Status::restarting},
          {"OOMKilled", state.oomKilled},
          {"Dead", false},
          {"Pid", state.isAlive() ? state.pid : 0},
          {"ExitCode", state.exitCode},
          {"Error", state.error},
          {"StartedAt", state.startedAt.empty() ? kNever : state.startedAt},
          {"FinishedAt", state.finishedAt.empty() ? kNever : state.finishedAt},
          {"Health", healthFacts(state)}};
}

Json mountFacts(const std::vector<store::MountRecord>& mounts) {
  Json list = Json::array();
  for (const store::MountRecord& mount : mounts) {
    Json facts = {{"Type", mount.type},
                  {"Source", mount.source},
                  {"Destination", mount.destination},
                  {"Mode", mount.mode},
                  {"RW", !mount.readOnly},
                  {"Propagation", mount.type == "bind" ? "rprivate" : ""}};
    if (mount.type == "volume") {
      facts["Name"] = mount.name;
      facts["Driver"] = "local";
    }
    list.push_back(std::move(facts));
  }
  return list;
}

Json bindsOf(const std::vector<store::MountRecord>& mounts) {
  Json binds = Json::array();
  for (const store::MountRecord& mount : mounts) {
    if (mount.type == "tmpfs" || mount.anonymous) continue;
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
    if (mount.type == "tmpfs") found[mount.destination] = mount.mode;
  }
  return found;
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

// What --security-opt and --privileged come to.
runtime::Spec rightsOf(const store::ContainerConfig& config) {
  const SecurityOptions options = parseSecurityOptions(config.securityOpt);
  runtime::Spec spec;
  spec.privileged = config.privileged;
  spec.maskedPaths = options.maskedPaths;
  spec.unmaskedPaths = options.unmaskedPaths;
  if (!config.privileged) spec.appArmor = options.appArmor;
  return spec;
}

Json restartFacts(const store::RestartRecord& restart) {
  return {{"Name", restart.policy.empty() ? "no" : restart.policy},
          {"MaximumRetryCount", restart.maximum}};
}

Json hostFacts(const store::ContainerConfig& config, const store::ContainerState& state) {
  const runtime::Spec rights = rightsOf(config);
  Json hosts = Json::array();
  for (const auto& [host, address] : config.extraHosts)
    hosts.push_back(fmt::format("{}:{}", host, address));
  Json facts = {{"Binds", bindsOf(config.mounts)},
                {"NetworkMode", config.network},
                {"PortBindings", bindingFacts(config.networkOptions)},
                {"RestartPolicy", restartFacts(config.restart)},
                {"CgroupParent", config.cgroupParent},
                {"AutoRemove", config.autoRemove},
                {"VolumesFrom", Json()},
                {"CapAdd", listOrNull(config.capAdd)},
                {"CapDrop", listOrNull(config.capDrop)},
                {"Dns", Json::array()},
                {"DnsOptions", Json::array()},
                {"DnsSearch", Json::array()},
                {"ExtraHosts", hosts.empty() ? Json() : hosts},
                {"GroupAdd", listOrNull(config.groupAdd)},
                {"Init", config.init},
                {"Privileged", config.privileged},
                {"PublishAllPorts", config.networkOptions.publishAll},
                {"ReadonlyRootfs", config.readOnlyRoot},
                {"SecurityOpt", listOrNull(config.securityOpt)},
                {"Tmpfs", tmpfsOf(config.mounts)},
                {"Ulimits", ulimitsOf(config.ulimits)},
                {"MaskedPaths", runtime::maskedPaths(rights)},
                {"ReadonlyPaths", runtime::readOnlyPaths(rights)}};
  addLimits(config.limits, facts);
  facts.update(namespaceFacts(config, state));
  return facts;
}

Json configOf(const store::ContainerConfig& config) {
  Json facts = configFacts(config.image);
  for (const store::PortRecord& port : config.networkOptions.ports) {
    facts["ExposedPorts"][fmt::format("{}/{}", port.containerPort, port.protocol)] = Json::object();
  }
  facts["Hostname"] = hostnameOf(config);
  facts["User"] = config.user;
  facts["AttachStdin"] = config.openStdin;
  facts["AttachStdout"] = true;
  facts["AttachStderr"] = true;
  facts["Tty"] = config.tty;
  facts["OpenStdin"] = config.openStdin;
  facts["Env"] = listOrNull(config.env);
  facts["Cmd"] = listOrNull(config.command);
  facts["Image"] = config.imageName;
  facts["WorkingDir"] = config.cwd == "/" ? config.image.workingDir : config.cwd;
  facts["Entrypoint"] = listOrNull(config.entrypoint);
  facts["Labels"] = config.labels;
  facts["StopSignal"] = config.stopSignal.empty() ? "SIGTERM" : config.stopSignal;
  facts["StopTimeout"] = config.stopTimeout;
  const auto health = healthcheckOf(config);
  facts["Healthcheck"] = health ? healthcheckFacts(*health) : Json();
  return facts;
}

Json driverFacts(const store::Layout& layout, const store::ContainerConfig& config) {
  const std::string folder = layout.root() + "/containers/" + config.id;
  std::string lower = layout.root() + "/" + initPath(layout, config);
  for (auto diffId = config.diffIds.rbegin(); diffId != config.diffIds.rend(); ++diffId) {
    lower += ":" + layout.root() + "/" + layout.layerPath(*diffId) + "/fs";
  }
  // The union is mounted in the container's own namespace only: there is no merged folder on the
  // host.
  return {{"Name", "overlay2"},
          {"Data",
           {{"LowerDir", lower},
            {"UpperDir", folder + "/upper"},
            {"WorkDir", folder + "/work"},
            {"MergedDir", ""}}}};
}

// Addresses are those of a container that runs; with the network of another, that one has them.
Json networkFacts(const store::ContainerConfig& config, const store::ContainerState& state) {
  const Json address = {{"IPAddress", state.address},
                        {"IPPrefixLen", state.prefixLength},
                        {"Gateway", state.gateway},
                        {"MacAddress", state.macAddress}};
  Json facts = address;
  facts["Ports"] = Json::object();
  facts["Networks"] = Json::object();
  if (networkMode(config.network) == NetworkMode::container) return facts;
  Json network = address;
  network["NetworkID"] = "";
  network["Aliases"] = listOrNull(config.networkOptions.aliases);
  facts["Networks"][networkName(config)] = std::move(network);
  return facts;
}

}  // namespace

std::optional<Json> inspectContainer(Context& context, const std::string& name, bool withSize) {
  const store::Layout& layout = context.store();
  const auto record = store::Containers{layout}.find(name);
  if (!record) return std::nullopt;
  const store::ContainerConfig& config = record->config;
  const std::string logPath = layout.root() + "/containers/" + config.id + "/log";
  Json facts = {{"Id", config.id},
                {"Created", config.createdAt},
                {"Path", config.argv.empty() ? "" : config.argv.front()},
                {"Args", std::vector<std::string>(config.argv.begin() + 1, config.argv.end())},
                {"State", stateFacts(record->state)},
                {"Image", config.imageId.str()},
                // Made for the container in memory, not files of the host.
                {"ResolvConfPath", ""},
                {"HostnamePath", ""},
                {"HostsPath", ""},
                {"LogPath", sys::tryFstatat(AT_FDCWD, logPath) ? logPath : ""},
                {"Name", "/" + config.name},
                {"RestartCount", record->state.restartCount},
                {"Driver", "overlay2"},
                {"Platform", "linux"},
                {"MountLabel", ""},
                {"ProcessLabel", ""},
                {"AppArmorProfile", rightsOf(config).appArmor},
                {"ExecIDs", Json()},
                {"HostConfig", hostFacts(config, record->state)},
                {"GraphDriver", driverFacts(layout, config)},
                {"Mounts", mountFacts(config.mounts)},
                {"Config", configOf(config)},
                {"NetworkSettings", networkFacts(config, record->state)}};
  facts["NetworkSettings"]["Ports"] = portFacts(*record);
  if (withSize) {
    const ContainerSize size = containerSize(layout, config);
    facts["SizeRw"] = size.own;
    facts["SizeRootFs"] = size.own + size.image;
  }
  return facts;
}

}  // namespace img::cli
