#include "cli/config_diff.h"

#include <map>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/json.h"
#include "base/text.h"
#include "cli/values.h"

namespace img::cli {
namespace {

// Every setting as one flat key and a text.
std::map<std::string, std::string> flatten(const store::ImageConfig& config) {
  std::map<std::string, std::string> flat;
  const auto add = [&](const std::string& key, const std::string& value) {
    if (!value.empty()) flat[key] = value;
  };
  const auto addList = [&](const std::string& key, const std::vector<std::string>& words) {
    if (!words.empty()) flat[key] = dumpJson(Json(words));
  };
  for (const std::string& assignment : config.env) {
    const auto [key, value] = splitAssignment(assignment);
    flat["env " + key] = value;
  }
  for (const auto& [key, value] : config.labels) flat["label " + key] = value;
  for (const auto& [port, unused] : config.exposedPorts) flat["port " + port] = "exposed";
  for (const auto& [path, unused] : config.volumes) flat["volume " + path] = "declared";
  addList("entrypoint", config.entrypoint.value_or(std::vector<std::string>{}));
  addList("cmd", config.cmd.value_or(std::vector<std::string>{}));
  addList("shell", config.shell);
  addList("onbuild", config.onBuild);
  if (config.healthcheck) addList("healthcheck", config.healthcheck->test);
  add("user", config.user);
  add("workdir", config.workingDir);
  add("stopsignal", config.stopSignal);
  add("author", config.author);
  add("platform", config.platform.os + "/" + config.platform.architecture +
                      (config.platform.variant.empty() ? "" : "/" + config.platform.variant));
  return flat;
}

}  // namespace

std::vector<ConfigChange> diffConfigs(const store::ImageConfig& before,
                                      const store::ImageConfig& after) {
  const auto old = flatten(before);
  const auto now = flatten(after);
  std::map<std::string, ConfigChange> changes;
  for (const auto& [key, value] : old) changes[key] = {key, value, ""};
  for (const auto& [key, value] : now) {
    ConfigChange& change = changes[key];
    change.key = key;
    change.after = value;
  }
  std::vector<ConfigChange> list;
  for (auto& [key, change] : changes) {
    const bool isSame = old.contains(key) && now.contains(key) && change.before == change.after;
    if (!isSame) list.push_back(std::move(change));
  }
  return list;
}

}  // namespace img::cli
