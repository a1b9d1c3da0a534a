#include "builder/cache.h"

#include <sys/stat.h>

#include <ctime>
#include <nlohmann/json.hpp>

#include "base/fs.h"
#include "base/json.h"
#include "base/log.h"
#include "base/sys.h"
#include "base/text.h"
#include "store/lease.h"

namespace img::builder {
namespace {

// Part of every key and record: raise it when the meaning of a key changes.
constexpr int kVersion = 1;

Json hexOf(const std::vector<Digest>& keys) {
  Json list = Json::array();
  for (const Digest& key : keys) list.push_back(key.hex());
  return list;
}

// A record is its JSON and the digest of it, so that a torn write is seen (reliability.md S-3).
std::string encode(const Layer& layer, const Digest& state, const std::string& instruction,
                   const StepKeys& known) {
  Json json{{"version", kVersion},
            {"diff_id", layer.diffId->str()},
            {"layer",
             {{"mediaType", layer.descriptor->mediaType},
              {"digest", layer.descriptor->digest.str()},
              {"size", layer.descriptor->size}}},
            {"state", state.hex()},
            {"bytes", layer.bytes},
            {"created", layer.created},
            {"instruction", instruction}};
  if (!known.keys.empty()) json["keys"] = hexOf(known.keys);
  if (known.own) json["own"] = known.own->hex();
  const std::string body = dumpJson(json);
  return dumpJson(Json{{"record", json}, {"sha256", Digest::of(body).hex()}});
}

std::optional<StepCache::Hit> decode(const std::string& text) {
  const Json outer = parseJson(text, "cache record");
  const Json& json = outer.at("record");
  if (Digest::of(dumpJson(json)).hex() != outer.at("sha256") || json.at("version") != kVersion)
    return std::nullopt;
  auto layer = std::make_shared<Layer>();
  layer->diffId = Digest::parse(json.at("diff_id").get<std::string>());
  store::Descriptor descriptor;
  descriptor.mediaType = json.at("layer").at("mediaType");
  descriptor.digest = Digest::parse(json.at("layer").at("digest").get<std::string>());
  descriptor.size = json.at("layer").at("size");
  layer->descriptor = std::move(descriptor);
  layer->bytes = json.at("bytes");
  layer->created = json.at("created");
  const auto state = Digest::tryParseHex(json.at("state").get<std::string>());
  if (!state) return std::nullopt;
  StepCache::Hit hit{std::move(layer), *state};
  hit.instruction = json.at("instruction");
  for (const Json& key : json.value("keys", Json::array())) {
    if (const auto digest = Digest::tryParseHex(key.get<std::string>()))
      hit.known.keys.push_back(*digest);
  }
  hit.known.own = Digest::tryParseHex(json.value("own", std::string{}));
  return hit;
}

}  // namespace

StepCache::StepCache(const store::Layout& layout)
    : layout_(layout), folder_(sys::openDirectory(layout.fd(), "cache/steps")) {}

std::optional<StepCache::Hit> StepCache::find(const Digest& key) const try {
  const auto text = fs::tryReadFile(folder_.get(), key.hex());
  if (!text) return std::nullopt;
  auto hit = decode(*text);
  if (!hit || isExpired(*hit)) return std::nullopt;
  store::pin(layout_, hit->layer->descriptor->digest, *hit->layer->diffId);
  if (storedSize(*hit) != hit->layer->descriptor->size) return std::nullopt;
  touch(key);
  return hit;
} catch (const std::exception& error) {
  log::info("cache record {} is not usable: {}", key.shortHex(), error.what());
  return std::nullopt;
}

// Its time tells the eviction (store/eviction.h) when a record was last of use, to five minutes.
void StepCache::touch(const Digest& key) const {
  constexpr std::int64_t kResolution = 5LL * 60;
  const auto st = sys::tryFstatat(folder_.get(), key.hex());
  if (!st || ::time(nullptr) - st->st_mtim.tv_sec < kResolution) return;
  const timespec now{0, UTIME_NOW};
  try {
    sys::utimensat(folder_.get(), key.hex(), now, now);
  } catch (const Error& error) {
    log::debug("cache record {}: {}", key.shortHex(), error.cause());  // gone, or a read-only store
  }
}

// A blob is written whole and durable before it gets its name, so its size tells whether somebody
// has cut it since; its bytes are verified when it is unpacked.
std::optional<std::uint64_t> StepCache::storedSize(const Hit& hit) const {
  const auto st = sys::tryFstatat(layout_.fd(), layout_.blobPath(hit.layer->descriptor->digest));
  if (!st) return std::nullopt;
  return static_cast<std::uint64_t>(st->st_size);
}

bool StepCache::isExpired(const Hit& hit) const {
  if (!oldest_) return false;
  const auto made = text::parseTimeSeconds(hit.layer->created);
  return !made || *made <= *oldest_;
}

StepCache::Absence StepCache::whyAbsent(const Digest& key) const try {
  const auto text = fs::tryReadFile(folder_.get(), key.hex());
  if (!text) return Absence::unknown;
  const auto hit = decode(*text);
  if (!hit) return Absence::damaged;
  const auto size = storedSize(*hit);
  if (!size) return Absence::gone;
  if (*size != hit->layer->descriptor->size) return Absence::damaged;
  return isExpired(*hit) ? Absence::expired : Absence::unknown;
} catch (const std::exception&) {
  return Absence::damaged;
}

void StepCache::remember(const Digest& key, const Layer& layer, const Digest& state,
                         const std::string& instruction, const StepKeys& known) const {
  fs::replaceFile(folder_.get(), key.hex(), encode(layer, state, instruction, known), 0600,
                  fs::Sync::none);
}

Hasher startKey(std::string_view kind, const Digest& parent) {
  Hasher hasher;
  hasher.field(std::uint64_t{kVersion});
  hasher.field(kind);
  hasher.field(parent.str());
  return hasher;
}

Digest baseKey(const std::vector<Digest>& diffIds) {
  Hasher hasher = startKey("base", Digest{});
  for (const Digest& diffId : diffIds) hasher.field(diffId.str());
  return hasher.finish();
}

}  // namespace img::builder
