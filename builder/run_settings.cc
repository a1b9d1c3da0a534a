#include "builder/run_settings.h"

#include <algorithm>
#include <tuple>

#include "base/text.h"
#include "builder/secret_guard.h"
#include "runtime/command.h"

namespace img::builder {
namespace {

RunCommand resolveCommand(const parser::RunInstruction& run, const store::ImageConfig& config) {
  if (run.command.exec) return {run.command.words, {}, false};
  std::string text = parser::shellText(run);
  if (run.isHeredocScript && text.starts_with("#!")) {
    return {commandLine({false, {kScriptPath}}, config), std::move(text)};
  }
  return {commandLine({false, {std::move(text)}}, config), {}};
}

bool isProxyName(std::string_view name) {
  static constexpr std::string_view kNames[] = {"http_proxy", "https_proxy", "ftp_proxy",
                                                "no_proxy", "all_proxy"};
  return std::find(std::begin(kNames), std::end(kNames), text::lower(name)) != std::end(kNames);
}

// Predefined proxy arguments: both spellings, not in keys or history (3.3.1).
void addProxies(std::vector<std::string>& env, const Scope& scope, const StageState& stage) {
  for (const auto& [name, value] : scope.request->buildArgs) {
    if (!isProxyName(name)) continue;
    for (const std::string& spelling : {text::lower(name), text::upper(name)}) {
      if (stage.variables.find(spelling) == nullptr) setEnv(env, spelling, value);
    }
  }
}

bool isAllowed(const Scope& scope, std::string_view entitlement) {
  const auto& allowed = scope.request->allow;
  return std::find(allowed.begin(), allowed.end(), entitlement) != allowed.end();
}

std::string networkOf(const Scope& scope, const parser::Instruction& syntax,
                      const parser::RunInstruction& run) {
  const std::string& whole = scope.request->network;
  if (!run.network || *run.network == "default") return whole;
  if (*run.network == "host" && whole != "host" && !isAllowed(scope, "network.host")) {
    throw instructionError(scope, syntax,
                           "--network=host is not allowed; pass --allow network.host", "--network");
  }
  return *run.network;
}

bool isInsecure(const Scope& scope, const parser::Instruction& syntax,
                const parser::RunInstruction& run) {
  const bool isAsked = run.security && *run.security == "insecure";
  if (isAsked && !isAllowed(scope, "security.insecure")) {
    throw instructionError(scope, syntax,
                           "--security=insecure is not allowed; pass --allow security.insecure",
                           "--security");
  }
  return isAsked;
}

// `--allow device` allows all, `--allow device=NAME` one.
std::vector<DeviceRequest> devicesOf(const Scope& scope, const parser::Instruction& syntax,
                                     const parser::RunInstruction& run) {
  std::vector<DeviceRequest> devices;
  for (const std::string& text : run.devices) {
    DeviceRequest device = parseDeviceRequest(text);
    if (!isAllowed(scope, "device") && !isAllowed(scope, "device=" + device.name)) {
      throw instructionError(scope, syntax, "--device is not allowed; pass --allow device",
                             "--device");
    }
    devices.push_back(std::move(device));
  }
  return devices;
}

void addList(Hasher& hasher, const std::vector<std::string>& words) {
  hasher.field(std::uint64_t{words.size()});
  for (const std::string& word : words) hasher.field(word);
}

// Limits of resources are not in the key, those of the process are (6.2).
void addStepOptions(Hasher& hasher, const StepOptions& options) {
  addList(hasher, options.ulimits);
  hasher.field(options.cgroupParent);
  hasher.field(options.shmSize);
  for (const auto* list : {&options.capAdd, &options.capDrop, &options.maskedPaths,
                           &options.unmaskedPaths, &options.devices})
    addList(hasher, *list);
  hasher.field(std::uint64_t{options.noNewPrivs});
  hasher.field(std::uint64_t{options.isSeccompUnconfined});
  hasher.field(options.seccompProfile);
  hasher.field(std::uint64_t{options.only64Bit});
  hasher.field(options.appArmor);
  hasher.field(options.capabilities);
}

}  // namespace

void checkRights(const Scope& scope, const parser::Instruction& syntax,
                 const parser::RunInstruction& run) {
  std::ignore = networkOf(scope, syntax, run);
  std::ignore = isInsecure(scope, syntax, run);
  std::ignore = devicesOf(scope, syntax, run);
}

RunSettings settingsOf(Workshop& shop, const PlannedStage& planned, const parser::Step& step,
                       const StageState& stage) {
  const auto& run = std::get<parser::RunInstruction>(step.body);
  RunSettings settings;
  settings.command = resolveCommand(run, stage.config);
  settings.env = stage.variables.asEnv();
  if (stage.variables.find("PATH") == nullptr) setEnv(settings.env, "PATH", runtime::kDefaultPath);
  settings.runEnv = settings.env;
  addProxies(settings.runEnv, shop.scope, stage);
  settings.init = stage.init;
  settings.cwd = stage.config.workingDir.empty() ? "/" : stage.config.workingDir;
  settings.user = stage.config.user;
  const store::Platform& platform = stage.config.platform;
  settings.platform = platform.os + "/" + platform.architecture;
  if (!platform.variant.empty()) settings.platform += "/" + platform.variant;
  const std::string* hostname = shop.scope.findBuildArg("BUILDKIT_SANDBOX_HOSTNAME");
  settings.hostname = hostname != nullptr ? *hostname : "buildkitsandbox";
  settings.network = networkOf(shop.scope, step.syntax, run);
  settings.isInsecure = isInsecure(shop.scope, step.syntax, run);
  settings.mounts = std::make_unique<RunMounts>(shop, planned, step, stage);
  settings.devices = devicesOf(shop.scope, step.syntax, run);
  return settings;
}

Digest keyOf(const Workshop& shop, const RunSettings& settings, RunMounts::KeyKind kind) {
  const bool isDefinition =
      kind == RunMounts::KeyKind::definition && settings.mounts->hasForeignSource();
  Hasher hasher = startKey(isDefinition ? "run-from" : "run", Digest{});
  addList(hasher, settings.command.argv);
  hasher.field(settings.command.script);
  addList(hasher, settings.env);
  for (const std::string* text :
       {&settings.cwd, &settings.user, &settings.hostname, &settings.network, &settings.platform})
    hasher.field(*text);
  hasher.field(std::uint64_t{settings.isInsecure});
  hasher.field(std::uint64_t{shop.scope.request->addHosts.size()});
  for (const auto& [host, address] : shop.scope.request->addHosts) hasher.field(host);
  addStepOptions(hasher, shop.scope.request->step);
  settings.mounts->addToKey(hasher, kind);
  hasher.field(std::uint64_t{settings.devices.size()});
  for (const DeviceRequest& device : settings.devices) hasher.field(device.name);
  addEpoch(hasher, shop.scope);
  return hasher.finish();
}

std::string createdBy(const RunSettings& settings, const StageState& stage) {
  std::string out = "RUN ";
  if (!stage.args.empty()) {
    out += fmt::format("|{} ", stage.args.size());
    for (const std::string& name : stage.args) {
      const std::string* value = stage.variables.find(name);
      const bool isHidden = value != nullptr && !value->empty() && isSecretName(name);
      out += fmt::format("{}={} ", name, isHidden ? "***" : value != nullptr ? *value : "");
    }
  }
  return out + text::join(settings.command.argv, " ");
}

}  // namespace img::builder
