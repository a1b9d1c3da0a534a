#include "builder/run_inputs.h"

#include <algorithm>

#include "base/text.h"
#include "builder/mount_source.h"

namespace img::builder {
namespace {

void addCommand(InputList& list, const RunCommand& command) {
  std::vector<std::string> argv = command.argv;
  if (!command.isShellForm || !command.script.empty()) {
    std::string text = text::join(argv, " ");
    if (!command.script.empty()) text += " " + command.script;
    return list.add("instruction", "RUN", std::move(text));
  }
  list.add("instruction", "RUN", argv.back());
  argv.pop_back();
  list.add("shell", "", text::join(argv, " "));
}

void addVariables(InputList& list, const RunSettings& settings, const StageState& stage) {
  const auto holds = [](const std::vector<std::string>& texts, const std::string& text) {
    return std::find(texts.begin(), texts.end(), text) != texts.end();
  };
  for (const std::string& entry : settings.env) {
    const size_t equals = entry.find('=');
    const std::string name = entry.substr(0, equals);
    const bool isArg = holds(stage.args, name) && !holds(stage.config.env, entry);
    list.addVariable(isArg ? "arg" : "env", name, std::string_view{entry}.substr(equals + 1));
  }
}

// What of the options counts (dockerfile.md 6.2).
std::string optionsText(const parser::RunMount& mount) {
  std::string text{parser::mountTypeName(mount.type)};
  const auto add = [&](std::string_view name, const std::string& value) {
    text += fmt::format(",{}={}", name, value);
  };
  add("ro", mount.readOnly ? "true" : "false");
  if (mount.size > 0) add("size", std::to_string(mount.size));
  const bool isNamed =
      mount.type == parser::RunMount::Type::secret || mount.type == parser::RunMount::Type::ssh;
  if (!isNamed) return text;
  add("id", mount.id);
  if (mount.mode) add("mode", fmt::format("{:04o}", *mount.mode));
  if (mount.uid) add("uid", std::to_string(*mount.uid));
  if (mount.gid) add("gid", std::to_string(*mount.gid));
  if (mount.required) add("required", "true");
  if (!mount.env.empty()) add("env", mount.env);
  return text;
}

void addMount(InputList& list, const PlannedMount& planned) {
  const parser::RunMount& mount = planned.mount;
  list.add("mount", planned.target.empty() ? mount.id : planned.target, optionsText(mount));
  if (!planned.source) return;
  if (planned.source->isOfHost()) return list.addFiles(planned.source->seen());
  list.add("stage", mount.from, planned.content);
}

// Limits of the process, not of resources.
void addOptions(InputList& list, const StepOptions& options) {
  const auto add = [&](std::string_view name, const std::vector<std::string>& values) {
    if (!values.empty()) list.add("security", std::string{name}, text::join(values, " "));
  };
  add("ulimit", options.ulimits);
  add("cap-add", options.capAdd);
  add("cap-drop", options.capDrop);
  add("mask", options.maskedPaths);
  add("unmask", options.unmaskedPaths);
  add("device", options.devices);
  if (!options.cgroupParent.empty()) list.add("security", "cgroup-parent", options.cgroupParent);
  list.add("security", "shm-size", std::to_string(options.shmSize));
  if (options.noNewPrivs) list.add("security", "no-new-privileges", "true");
  if (options.isSeccompUnconfined) list.add("security", "seccomp", "unconfined");
  if (!options.seccompProfile.empty()) list.add("security", "seccomp", options.seccompProfile);
  if (options.only64Bit) list.add("security", "abi32", "off");
  if (!options.appArmor.empty()) list.add("security", "apparmor", options.appArmor);
  if (options.capabilities != runtime::kDefaultCapabilities)
    list.add("security", "capabilities", fmt::format("{:x}", options.capabilities));
}

}  // namespace

void addRunInputs(InputList& list, RunSettings& settings, const StageState& stage,
                  const Request& request) {
  addCommand(list, settings.command);
  addVariables(list, settings, stage);
  list.add("workdir", "", settings.cwd);
  list.add("user", "", settings.user);
  list.add("hostname", "", settings.hostname);
  list.add("platform", "", settings.platform);
  list.add("network", "", settings.network);
  list.add("security", "", settings.isInsecure ? "insecure" : "sandbox");
  for (const auto& [host, address] : request.addHosts) list.add("host", host, "added");
  addOptions(list, request.step);
  for (const PlannedMount& mount : settings.mounts->all()) addMount(list, mount);
  for (const DeviceRequest& device : settings.devices) list.add("security", "device", device.name);
}

}  // namespace img::builder
