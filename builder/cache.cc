#include "builder/cache.h"

#include <sys/stat.h>

#include <algorithm>
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

constexpr std::string_view kBegin = R"({"record":)", kMiddle = R"(,"sha256":")", kEnd = R"("})";

// The record's own JSON, of which the digest is right; empty: the text is damaged.
std::string_view verified(std::string_view text) {
  constexpr size_t kHex = 2 * sizeof(Digest::Bytes);
  constexpr size_t kTail = kMiddle.size() + kHex + kEnd.size();
  if (!text.starts_with(kBegin) || text.size() < kBegin.size() + kTail) return {};
  const std::string_view tail = text.substr(text.size() - kTail);
  const std::string_view body = text.substr(kBegin.size(), text.size() - kBegin.size() - kTail);
  if (!tail.starts_with(kMiddle) || !tail.ends_with(kEnd)) return {};
  const auto digest = Digest::tryParseHex(tail.substr(kMiddle.size(), kHex));
  return digest && *digest == Digest::of(body) ? body : std::string_view{};
}

// Reads what encode() writes, in that order: an unchanged build of a hundred steps would spend half
// its time in a parser. Anything else is left to the parser.
class RecordReader {
 public:
  explicit RecordReader(std::string_view text) : rest_(text) {}

  bool take(std::string_view literal) {
    if (!rest_.starts_with(literal)) return false;
    rest_.remove_prefix(literal.size());
    return true;
  }

  // After the opening quote: up to the closing one, which goes. Escapes: not the simple form.
  std::optional<std::string_view> text() {
    const size_t end = rest_.find_first_of("\"\\");
    if (end == std::string_view::npos || rest_[end] != '"') return std::nullopt;
    const std::string_view value = rest_.substr(0, end);
    rest_.remove_prefix(end + 1);
    return value;
  }

  std::optional<std::uint64_t> number() {
    const size_t end = std::min(rest_.find_first_not_of("0123456789"), rest_.size());
    const auto value = text::parseUnsigned(rest_.substr(0, end));
    rest_.remove_prefix(end);
    return value;
  }

  // After `name` and a quote.
  std::optional<std::string_view> text(std::string_view name) {
    return take(name) ? text() : std::nullopt;
  }
  std::optional<std::uint64_t> number(std::string_view name) {
    return take(name) ? number() : std::nullopt;
  }
  bool isAtEnd() const { return rest_.empty(); }

 private:
  std::string_view rest_;
};

std::optional<std::vector<Digest>> readKeys(RecordReader& reader) {
  std::vector<Digest> keys;
  if (!reader.take(R"(,"keys":[)")) return keys;
  while (!reader.take("]")) {
    if (!keys.empty() && !reader.take(",")) return std::nullopt;
    const auto key = reader.text("\"");
    const auto digest = key ? Digest::tryParseHex(*key) : std::nullopt;
    if (!digest) return std::nullopt;
    keys.push_back(*digest);
  }
  return keys;
}

std::optional<StepCache::Hit> readUsual(std::string_view body) {
  RecordReader reader{body};
  const auto bytes = reader.number(R"({"bytes":)");
  const auto created = reader.text(R"(,"created":")");
  const auto diffId = reader.text(R"(,"diff_id":")");
  const auto instruction = reader.text(R"(,"instruction":")");
  auto keys = readKeys(reader);
  const auto digest = reader.text(R"(,"layer":{"digest":")");
  const auto mediaType = reader.text(R"(,"mediaType":")");
  const auto size = reader.number(R"(,"size":)");
  const bool isClosed = reader.take("}");
  const auto own = reader.text(R"(,"own":")");
  const auto state = reader.text(R"(,"state":")");
  const auto version = reader.number(R"(,"version":)");
  const bool isWhole = bytes && created && diffId && instruction && keys && digest && mediaType &&
                       size && isClosed && state && version == kVersion && reader.take("}");
  if (!isWhole || !reader.isAtEnd()) return std::nullopt;
  const auto stateKey = Digest::tryParseHex(*state);
  if (!stateKey) return std::nullopt;
  auto layer = std::make_shared<Layer>();
  layer->diffId = Digest::parse(*diffId);
  layer->descriptor.emplace();
  layer->descriptor->mediaType = *mediaType;
  layer->descriptor->digest = Digest::parse(*digest);
  layer->descriptor->size = *size;
  layer->bytes = *bytes;
  layer->created = *created;
  StepCache::Hit hit{std::move(layer), *stateKey};
  hit.instruction = *instruction;
  hit.known.keys = std::move(*keys);
  if (own) hit.known.own = Digest::tryParseHex(*own);
  return hit;
}

std::optional<StepCache::Hit> parseRecord(std::string_view body) {
  const Json json = parseJson(body, "cache record");
  if (json.at("version") != kVersion) return std::nullopt;
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

std::optional<StepCache::Hit> decode(std::string_view text) {
  const std::string_view body = verified(text);
  if (body.empty()) return std::nullopt;
  if (auto hit = readUsual(body)) return hit;
  return parseRecord(body);
}

}  // namespace

StepCache::StepCache(const store::Layout& layout)
    : layout_(layout), folder_(sys::openDirectory(layout.fd(), "cache/steps")) {}

std::optional<StepCache::Hit> StepCache::find(const Digest& key) const try {
  const auto file = sys::tryOpenat(folder_.get(), key.hex(), O_RDONLY);
  if (!file) return std::nullopt;
  auto hit = decode(readAll(file->get(), "cache record"));
  if (!hit || isExpired(*hit)) return std::nullopt;
  store::pin(layout_, hit->layer->descriptor->digest, *hit->layer->diffId);
  if (storedSize(*hit) != hit->layer->descriptor->size) return std::nullopt;
  touch(key, file->get());
  return hit;
} catch (const std::exception& error) {
  log::info("cache record {} is not usable: {}", key.shortHex(), error.what());
  return std::nullopt;
}

// Its time tells the eviction (store/eviction.h) when a record was last of use, to five minutes.
void StepCache::touch(const Digest& key, int file) const {
  constexpr std::int64_t kResolution = 5LL * 60;
  if (::time(nullptr) - sys::fstat(file).st_mtim.tv_sec < kResolution) return;
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
