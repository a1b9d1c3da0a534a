#include <nlohmann/json.hpp>

#include "base/log.h"
#include "base/text.h"
#include "cli/image_facts.h"
#include "cli/inspect.h"
#include "store/layers.h"

namespace img::cli {
namespace {

constexpr char kNever[] = "0001-01-01T00:00:00Z";  // Go's zero time, which scripts test for

Json listOrNull(const std::optional<std::vector<std::string>>& list) {
  return list ? Json(*list) : Json();
}

Json setOrNull(const std::map<std::string, bool>& keys) {
  Json set;
  for (const auto& [key, unused] : keys) set[key] = Json::object();
  return set;
}

}  // namespace

Json healthcheckFacts(const store::Healthcheck& health) {
  Json facts = {{"Test", health.test}};
  const auto add = [&](const char* key, long long value) {
    if (value != 0) facts[key] = value;
  };
  add("Interval", health.interval);
  add("Timeout", health.timeout);
  add("StartPeriod", health.startPeriod);
  add("StartInterval", health.startInterval);
  add("Retries", health.retries);
  return facts;
}

namespace {

// Where the unpacked layers lie; null while one of them is not unpacked.
Json layerFolders(const store::Layout& layout, const store::Image& image) {
  const store::Layers layers{layout};
  std::vector<std::string> folders;
  for (auto diffId = image.config.diffIds.rbegin(); diffId != image.config.diffIds.rend();
       ++diffId) {
    if (!layers.has(*diffId)) return nullptr;
    folders.push_back(layout.root() + "/" + layers.pathOf(*diffId));
  }
  if (folders.empty()) return nullptr;
  Json data = {{"UpperDir", folders.front()}};
  folders.erase(folders.begin());
  if (!folders.empty()) data["LowerDir"] = text::join(folders, ":");
  return data;
}

}  // namespace

Json configFacts(const store::ImageConfig& config) {
  return {{"Hostname", ""},
          {"Domainname", ""},
          {"User", config.user},
          {"AttachStdin", false},
          {"AttachStdout", false},
          {"AttachStderr", false},
          {"ExposedPorts", setOrNull(config.exposedPorts)},
          {"Tty", false},
          {"OpenStdin", false},
          {"StdinOnce", false},
          {"Env", config.env.empty() ? Json() : Json(config.env)},
          {"Cmd", listOrNull(config.cmd)},
          {"Healthcheck", config.healthcheck ? healthcheckFacts(*config.healthcheck) : Json()},
          {"Image", ""},
          {"Volumes", setOrNull(config.volumes)},
          {"WorkingDir", config.workingDir},
          {"Entrypoint", listOrNull(config.entrypoint)},
          {"OnBuild", config.onBuild.empty() ? Json() : Json(config.onBuild)},
          {"Labels", config.labels.empty() ? Json() : Json(config.labels)},
          {"StopSignal", config.stopSignal},
          {"Shell", config.shell.empty() ? Json() : Json(config.shell)}};
}

std::optional<Json> inspectImage(Context& context, const std::string& name, bool /*withSize*/) {
  const store::Layout& layout = context.store();
  std::optional<store::Image> image;
  try {
    image = store::Images{layout}.find(name);
  } catch (const Error& error) {
    if (error.kind() != Kind::usage) throw;
    return std::nullopt;  // what cannot be a name is the name of no image
  }
  if (!image) return std::nullopt;
  const store::ImageConfig& config = image->config;

  Json names = Json::array();
  for (const std::string& full : namesOf(layout, *image)) names.push_back(familiarName(full));
  Json layers = Json::array();
  for (const Digest& diffId : config.diffIds) layers.push_back(diffId.str());
  return Json{{"Id", image->id.str()},
              {"RepoTags", std::move(names)},
              {"RepoDigests", Json::array()},  // known only after a pull or a push
              {"Parent", ""},
              {"Comment", config.history.empty() ? "" : config.history.back().comment},
              {"Created", config.created.empty() ? kNever : config.created},
              {"Author", config.author},
              {"Architecture", config.platform.architecture},
              {"Variant", config.platform.variant},
              {"Os", config.platform.os},
              {"OsVersion", config.platform.osVersion},
              {"Size", imageSize(layout, *image)},
              {"Config", configFacts(config)},
              {"GraphDriver", {{"Name", "overlay2"}, {"Data", layerFolders(layout, *image)}}},
              {"RootFS", {{"Type", "layers"}, {"Layers", std::move(layers)}}},
              {"Metadata", {{"LastTagTime", kNever}}}};
}

}  // namespace img::cli
