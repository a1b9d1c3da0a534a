#include "store/oci.h"

#include <sys/utsname.h>

#include <algorithm>
#include <array>
#include <iterator>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/json.h"
#include "base/text.h"
#include "store/json_reader.h"

namespace img::store {
namespace {

// Docker and OCI names, compressed or not; the nondistributable forms may lack their blob (M6, M7).
constexpr std::array<std::string_view, 11> kLayerTypes = {
    media::kLayer,
    media::kLayerGzip,
    media::kLayerZstd,
    media::kDockerLayer,
    media::kDockerLayerGzip,
    "application/vnd.docker.image.rootfs.diff.tar.zstd",
    "application/vnd.docker.image.rootfs.foreign.diff.tar",
    "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
    "application/vnd.oci.image.layer.nondistributable.v1.tar",
    "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
    "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd"};

Platform parsePlatform(const JsonReader& json) {
  return {json.stringOr("os"), json.stringOr("architecture"), json.stringOr("variant"),
          json.stringOr("os.version")};
}

Descriptor parseDescriptor(const JsonReader& json) {
  Descriptor descriptor;
  descriptor.mediaType = json.stringOr("mediaType");
  descriptor.digest = json.get("digest").digest();
  descriptor.size = json.get("size").size();
  descriptor.annotations = json.stringMapOf("annotations");
  if (const auto platform = json.find("platform")) descriptor.platform = parsePlatform(*platform);
  descriptor.urls = json.stringsOf("urls");
  return descriptor;
}

Json platformJson(const Platform& platform) {
  Json json = {{"architecture", platform.architecture}, {"os", platform.os}};
  if (!platform.variant.empty()) json["variant"] = platform.variant;
  if (!platform.osVersion.empty()) json["os.version"] = platform.osVersion;
  return json;
}

Json descriptorJson(const Descriptor& descriptor) {
  Json json = {{"digest", descriptor.digest.str()}, {"size", descriptor.size}};
  if (!descriptor.mediaType.empty()) json["mediaType"] = descriptor.mediaType;
  if (!descriptor.annotations.empty()) json["annotations"] = descriptor.annotations;
  if (descriptor.platform) json["platform"] = platformJson(*descriptor.platform);
  if (!descriptor.urls.empty()) json["urls"] = descriptor.urls;
  return json;
}

void checkSchema(const JsonReader& json) {
  const auto version = json.find("schemaVersion");
  if (!version) json.fail("lacks \"schemaVersion\"");
  if (version->integer() == 1) {
    throw Error{Kind::unsupported,
                "this is an image manifest of schema 1, which is no longer supported"}
        .hint("store the image again with a newer tool");
  }
  if (version->integer() != 2) version->fail("must be 2");
}

// One document must not be a manifest to one reader and an index to another (M5, CVE-2021-41190).
void refuseOtherKind(const JsonReader& json, std::initializer_list<const char*> otherKeys) {
  for (const char* key : otherKeys) {
    if (json.has(key)) json.fail(fmt::format("must not have \"{}\" as well", key));
  }
}

void checkMediaType(const JsonReader& json, std::initializer_list<std::string_view> allowed) {
  const std::string type = json.stringOr("mediaType", std::string{*allowed.begin()});
  if (std::find(allowed.begin(), allowed.end(), type) != allowed.end()) return;
  json.get("mediaType").fail(fmt::format("is not known: {}", text::quote(type)));
}

Json setJson(const std::map<std::string, bool>& set) {
  Json json = Json::object();
  for (const auto& [key, value] : set) json[key] = Json::object();
  return json;
}

void put(Json& json, const char* key, const std::string& value) {
  if (!value.empty()) json[key] = value;
}

void put(Json& json, const char* key, const std::vector<std::string>& value) {
  if (!value.empty()) json[key] = value;
}

Healthcheck parseHealthcheck(const JsonReader& json) {
  Healthcheck check;
  check.test = json.stringsOf("Test");
  check.interval = json.integerOr("Interval");
  check.timeout = json.integerOr("Timeout");
  check.startPeriod = json.integerOr("StartPeriod");
  check.startInterval = json.integerOr("StartInterval");
  const std::int64_t retries = json.integerOr("Retries");
  if (retries < INT32_MIN || retries > INT32_MAX) json.get("Retries").fail("is out of range");
  check.retries = static_cast<int>(retries);
  return check;
}

Json healthcheckJson(const Healthcheck& check) {
  Json json = Json::object();
  put(json, "Test", check.test);
  const std::pair<const char*, long long> numbers[] = {{"Interval", check.interval},
                                                       {"Timeout", check.timeout},
                                                       {"StartPeriod", check.startPeriod},
                                                       {"StartInterval", check.startInterval},
                                                       {"Retries", check.retries}};
  for (const auto& [key, value] : numbers) {
    if (value != 0) json[key] = value;
  }
  return json;
}

Json historyJson(const HistoryEntry& entry) {
  Json json = Json::object();
  put(json, "created", entry.created);
  put(json, "created_by", entry.createdBy);
  put(json, "author", entry.author);
  put(json, "comment", entry.comment);
  if (entry.emptyLayer) json["empty_layer"] = true;
  return json;
}

std::optional<std::vector<std::string>> optionalStrings(const JsonReader& json, const char* key) {
  const auto found = json.find(key);
  if (!found) return std::nullopt;
  return found->strings();
}

void parseRunConfig(const JsonReader& json, ImageConfig& config) {
  config.user = json.stringOr("User");
  config.exposedPorts = json.keySetOf("ExposedPorts");
  config.env = json.stringsOf("Env");
  config.entrypoint = optionalStrings(json, "Entrypoint");
  config.cmd = optionalStrings(json, "Cmd");
  config.volumes = json.keySetOf("Volumes");
  config.workingDir = json.stringOr("WorkingDir");
  config.labels = json.stringMapOf("Labels");
  config.stopSignal = json.stringOr("StopSignal");
  if (const auto check = json.find("Healthcheck")) config.healthcheck = parseHealthcheck(*check);
  config.onBuild = json.stringsOf("OnBuild");
  config.shell = json.stringsOf("Shell");
}

Json runConfigJson(const ImageConfig& config) {
  Json json = Json::object();
  put(json, "User", config.user);
  if (!config.exposedPorts.empty()) json["ExposedPorts"] = setJson(config.exposedPorts);
  put(json, "Env", config.env);
  // An empty list differs from none: it hides what the base image has.
  if (config.entrypoint) json["Entrypoint"] = *config.entrypoint;
  if (config.cmd) json["Cmd"] = *config.cmd;
  if (!config.volumes.empty()) json["Volumes"] = setJson(config.volumes);
  put(json, "WorkingDir", config.workingDir);
  if (!config.labels.empty()) json["Labels"] = config.labels;
  put(json, "StopSignal", config.stopSignal);
  if (config.healthcheck) json["Healthcheck"] = healthcheckJson(*config.healthcheck);
  put(json, "OnBuild", config.onBuild);
  put(json, "Shell", config.shell);
  return json;
}

Platform namedPlatform(std::string_view machine) {
  struct Row {
    std::string_view machine, architecture, variant;
  };
  // uname(2) names to Go's GOARCH, as image-index.md wants them.
  static constexpr Row kRows[] = {{"x86_64", "amd64", ""},    {"aarch64", "arm64", "v8"},
                                  {"armv7l", "arm", "v7"},    {"armv6l", "arm", "v6"},
                                  {"i686", "386", ""},        {"i386", "386", ""},
                                  {"ppc64le", "ppc64le", ""}, {"s390x", "s390x", ""},
                                  {"riscv64", "riscv64", ""}, {"loongarch64", "loong64", ""}};
  for (const Row& row : kRows) {
    if (row.machine == machine)
      return {"linux", std::string{row.architecture}, std::string{row.variant}, {}};
  }
  return {"linux", std::string{machine}, {}, {}};
}

}  // namespace

bool isLayerType(std::string_view mediaType) {
  return std::find(kLayerTypes.begin(), kLayerTypes.end(), mediaType) != kLayerTypes.end();
}

bool isManifestType(std::string_view mediaType) {
  return mediaType == media::kManifest || mediaType == media::kDockerManifest;
}

bool isIndexType(std::string_view mediaType) {
  return mediaType == media::kIndex || mediaType == media::kDockerManifestList;
}

bool isConfigType(std::string_view mediaType) {
  return mediaType == media::kConfig || mediaType == media::kDockerConfig;
}

Platform Platform::host() {
  static const Platform platform = [] {
    utsname names{};
    return ::uname(&names) == 0 ? namedPlatform(names.machine) : Platform{"linux", "", "", ""};
  }();
  return platform;
}

std::string toJson(const Manifest& manifest) {
  Json json = {{"schemaVersion", 2},
               {"mediaType", manifest.mediaType},
               {"config", descriptorJson(manifest.config)},
               {"layers", Json::array()}};
  for (const Descriptor& layer : manifest.layers) json["layers"].push_back(descriptorJson(layer));
  if (!manifest.annotations.empty()) json["annotations"] = manifest.annotations;
  return dumpJson(json);
}

std::string toJson(const Index& index) {
  Json json = {{"schemaVersion", 2}, {"mediaType", index.mediaType}, {"manifests", Json::array()}};
  for (const Descriptor& entry : index.manifests)
    json["manifests"].push_back(descriptorJson(entry));
  if (!index.annotations.empty()) json["annotations"] = index.annotations;
  return dumpJson(json);
}

std::string toJson(const Descriptor& descriptor) {
  return dumpJson(descriptorJson(descriptor));
}

std::string toJson(const ImageConfig& config) {
  Json json = platformJson(config.platform);
  put(json, "created", config.created);
  put(json, "author", config.author);
  Json run = runConfigJson(config);
  if (!run.empty()) json["config"] = std::move(run);
  Json diffIds = Json::array();
  for (const Digest& diffId : config.diffIds) diffIds.push_back(diffId.str());
  json["rootfs"] = {{"type", "layers"}, {"diff_ids", std::move(diffIds)}};
  for (const HistoryEntry& entry : config.history) json["history"].push_back(historyJson(entry));
  return dumpJson(json);
}

Descriptor parseDescriptor(std::string_view json, std::string_view origin) {
  const Json document = parseJson(json, origin);
  return parseDescriptor(JsonReader{document, origin});
}

Manifest parseManifest(std::string_view json, std::string_view origin) {
  const Json document = parseJson(json, origin);
  const JsonReader reader{document, origin};
  reader.requireObject();
  checkSchema(reader);
  refuseOtherKind(reader, {"manifests", "fsLayers"});
  checkMediaType(reader, {media::kManifest, media::kDockerManifest});
  Manifest manifest;
  manifest.mediaType = reader.stringOr("mediaType", media::kManifest);
  manifest.config = parseDescriptor(reader.get("config"));
  for (const JsonReader& item : reader.arrayOf("layers")) {
    Descriptor layer = parseDescriptor(item);
    if (isConfigType(manifest.config.mediaType) && !isLayerType(layer.mediaType)) {
      item.fail(fmt::format("has an unknown layer type: {}", text::quote(layer.mediaType)));
    }
    manifest.layers.push_back(std::move(layer));
  }
  manifest.annotations = reader.stringMapOf("annotations");
  return manifest;
}

Index parseIndex(std::string_view json, std::string_view origin) {
  const Json document = parseJson(json, origin);
  const JsonReader reader{document, origin};
  reader.requireObject();
  checkSchema(reader);
  refuseOtherKind(reader, {"config", "layers", "fsLayers"});
  checkMediaType(reader, {media::kIndex, media::kDockerManifestList});
  Index index;
  for (const JsonReader& item : reader.arrayOf("manifests"))
    index.manifests.push_back(parseDescriptor(item));
  index.annotations = reader.stringMapOf("annotations");
  return index;
}

ImageConfig parseConfig(std::string_view json, std::string_view origin) {
  const Json document = parseJson(json, origin);
  const JsonReader reader{document, origin};
  reader.requireObject();
  ImageConfig config;
  config.created = reader.stringOr("created");
  config.author = reader.stringOr("author");
  config.platform = parsePlatform(reader);
  if (const auto run = reader.find("config")) parseRunConfig(*run, config);
  const JsonReader rootfs = reader.get("rootfs");
  if (rootfs.get("type").string() != "layers") rootfs.get("type").fail("must be \"layers\"");
  for (const JsonReader& item : rootfs.arrayOf("diff_ids")) config.diffIds.push_back(item.digest());
  for (const JsonReader& item : reader.arrayOf("history")) {
    config.history.push_back({item.stringOr("created"), item.stringOr("created_by"),
                              item.stringOr("author"), item.stringOr("comment"),
                              item.booleanOr("empty_layer")});
  }
  return config;
}

}  // namespace img::store
