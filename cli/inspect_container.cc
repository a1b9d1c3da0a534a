// What `img inspect` tells about a container, under docker's key names (cli.md 11).
#include <nlohmann/json.hpp>

#include "base/sys.h"
#include "cli/container_ports.h"
#include "cli/container_size.h"
#include "cli/container_spec.h"
#include "cli/health.h"
#include "cli/inspect.h"
#include "cli/inspect_host_config.h"
#include "cli/network_options.h"
#include "store/containers.h"
#include "store/layers.h"

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

Json configOf(const store::ContainerConfig& config) {
  Json facts = configFacts(config.image);
  for (const store::PortRecord& port : config.networkOptions.ports) {
    facts["ExposedPorts"][fmt::format("{}/{}", port.containerPort, port.protocol)] = Json::object();
  }
  for (const store::MountRecord& mount : config.mounts) {
    if (mount.anonymous && mount.option == "volume") {
      facts["Volumes"][mount.destination] = Json::object();
    }
  }
  facts["Hostname"] = hostnameOf(config);
  facts["Domainname"] = config.domainname;
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
    lower += ":" + layout.root() + "/" + store::Layers{layout}.pathOf(*diffId);
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
  const Json address = {{"EndpointID", ""},
                        {"IPAddress", state.address},
                        {"IPPrefixLen", state.prefixLength},
                        {"IPv6Gateway", ""},
                        {"Gateway", state.gateway},
                        {"GlobalIPv6Address", ""},
                        {"GlobalIPv6PrefixLen", 0},
                        {"MacAddress", state.macAddress}};
  Json facts = address;
  facts["Bridge"] = "";
  facts["HairpinMode"] = false;
  facts["LinkLocalIPv6Address"] = "";
  facts["LinkLocalIPv6PrefixLen"] = 0;
  facts["SecondaryIPAddresses"] = nullptr;
  facts["SecondaryIPv6Addresses"] = nullptr;
  facts["SandboxID"] = "";
  // What nsenter(1) and their like take.
  facts["SandboxKey"] =
      state.isAlive() && state.pid > 0 ? fmt::format("/proc/{}/ns/net", state.pid) : "";
  facts["Ports"] = Json::object();
  facts["Networks"] = Json::object();
  if (networkMode(config.network) == NetworkMode::container) return facts;
  Json network = address;
  network["NetworkID"] = "";
  network["IPAMConfig"] = nullptr;
  network["Links"] = nullptr;
  network["DriverOpts"] = nullptr;
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
                {"HostConfig", hostConfigFacts(config, record->state)},
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
