#include "builder/cache_document.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "base/json.h"
#include "base/text.h"
#include "store/json_reader.h"

namespace img::builder {
namespace {

using store::JsonReader;

constexpr size_t kMaxSteps = 20'000, kMaxMounts = 1'000, kMaxKeys = 8;
constexpr size_t kMaxInstruction = 1'000, kMaxTime = 40;

Json stepJson(const CacheEntry& step) {
  Json keys = Json::array();
  for (const Digest& key : step.keys) keys.push_back(key.hex());
  Json json{{"keys", std::move(keys)}, {"state", step.state.hex()}, {"created", step.created}};
  if (step.content) json["content"] = step.content->hex();
  if (step.own) json["own"] = step.own->hex();
  if (step.layer) json["layer"] = *step.layer;
  if (step.bytes > 0) json["bytes"] = step.bytes;
  if (!step.instruction.empty()) json["instruction"] = step.instruction.substr(0, kMaxInstruction);
  return json;
}

Json documentJson(const CacheDocument& document) {
  Json json = Json::object();
  json["steps"] = Json::array();
  for (const CacheEntry& step : document.steps) json["steps"].push_back(stepJson(step));
  for (const CacheMountEntry& mount : document.mounts)
    json["mounts"].push_back({{"id", mount.identity.hex()}, {"layer", mount.layer}});
  return json;
}

Digest hexDigest(const JsonReader& value) {
  const auto digest = Digest::tryParseHex(value.string());
  if (!digest) value.fail("is no digest");
  return *digest;
}

std::uint64_t layerNumber(const JsonReader& value, size_t count) {
  const std::uint64_t number = value.size();
  if (number >= count) value.fail("is the number of no layer of this image");
  return number;
}

std::vector<JsonReader> boundedArray(const JsonReader& json, const char* key, size_t most) {
  std::vector<JsonReader> items = json.arrayOf(key);
  if (items.size() > most) json.get(key).fail(fmt::format("has more than {} entries", most));
  return items;
}

CacheEntry parseStep(const JsonReader& json, size_t layers) {
  CacheEntry step;
  for (const JsonReader& key : boundedArray(json, "keys", kMaxKeys))
    step.keys.push_back(hexDigest(key));
  if (step.keys.empty()) json.fail("has no keys");
  step.state = hexDigest(json.get("state"));
  if (const auto key = json.find("content")) step.content = hexDigest(*key);
  if (const auto key = json.find("own")) step.own = hexDigest(*key);
  if (const auto number = json.find("layer")) step.layer = layerNumber(*number, layers);
  if (const auto bytes = json.find("bytes")) step.bytes = bytes->size();
  // It becomes a time of the image's config and of its history.
  const JsonReader created = json.get("created");
  step.created = created.string();
  if (step.created.size() > kMaxTime || !text::parseTimeSeconds(step.created))
    created.fail("is no time");
  step.instruction = json.stringOr("instruction");
  if (step.instruction.size() > kMaxInstruction) json.get("instruction").fail("is too long");
  return step;
}

}  // namespace

std::string toJson(const CacheDocument& document) {
  return dumpJson(documentJson(document));
}

std::string cacheConfig(const CacheDocument& document, const std::vector<Digest>& diffIds) {
  Json list = Json::array();
  for (const Digest& diffId : diffIds) list.push_back(diffId.str());
  return dumpJson(Json{{"architecture", "unknown"},
                       {"os", "unknown"},
                       {"rootfs", {{"type", "layers"}, {"diff_ids", std::move(list)}}},
                       {kCacheKey, documentJson(document)}});
}

std::optional<CacheImage> parseCacheImage(std::string_view manifest, std::string_view config,
                                          std::string_view origin) {
  const Json json = parseJson(config, origin);
  const JsonReader reader{json, origin};
  const auto records = reader.find(kCacheKey);
  if (!records) return std::nullopt;
  CacheImage image;
  image.layers = store::parseManifest(manifest, origin).layers;
  const JsonReader diffIds = reader.get("rootfs").get("diff_ids");
  for (const JsonReader& item : diffIds.array()) image.diffIds.push_back(item.digest());
  if (image.diffIds.size() != image.layers.size())
    diffIds.fail(
        fmt::format("has {} entries for {} layers", image.diffIds.size(), image.layers.size()));
  for (const JsonReader& item : boundedArray(*records, "steps", kMaxSteps))
    image.document.steps.push_back(parseStep(item, image.layers.size()));
  for (const JsonReader& item : boundedArray(*records, "mounts", kMaxMounts)) {
    image.document.mounts.push_back(
        {hexDigest(item.get("id")), layerNumber(item.get("layer"), image.layers.size())});
  }
  return image;
}

}  // namespace img::builder
