#include "store/layer_meta.h"

#include <nlohmann/json.hpp>

#include "base/fs.h"
#include "base/log.h"
#include "base/sys.h"
#include "base/text.h"
#include "store/json_reader.h"
#include "store/owner_shift.h"
#include "store/owners.h"

namespace img::store {
namespace {

constexpr int kVersion = 1;
constexpr size_t kMaxSize = 64 << 10;

// Takes a known text apart from its beginning.
class Cursor {
 public:
  explicit Cursor(std::string_view text) : rest_(text) {}
  Cursor& word(std::string_view expected) {
    isRight_ = isRight_ && rest_.starts_with(expected);
    if (isRight_) rest_.remove_prefix(expected.size());
    return *this;
  }
  // Up to a character that is not part of it.
  std::string_view until(char end) {
    const std::string_view found = rest_.substr(0, rest_.find(end));
    rest_.remove_prefix(found.size());
    return found;
  }
  std::uint64_t number() {
    const std::string_view digits = rest_.substr(0, rest_.find_first_not_of("0123456789"));
    rest_.remove_prefix(digits.size());
    const auto value = text::parseUnsigned(digits);
    isRight_ = isRight_ && value;
    return value.value_or(0);
  }
  [[nodiscard]] bool isAtEnd() const { return isRight_ && rest_.empty(); }

 private:
  std::string_view rest_;
  bool isRight_ = true;
};

// Of a folder outside of user namespaces, exactly as writeLayerMeta() writes it: images have a
// hundred of them, and each start reads all. What differs is for the parser.
std::optional<LayerMeta> readPlainForm(std::string_view text, const Digest& diffId) {
  Cursor cursor{text};
  LayerMeta meta{diffId, 0, 0, {}, false, {}, {}};
  meta.bootId = cursor.word("{\"boot_id\":\"").until('"');
  meta.bytes = cursor.word("\",\"bytes\":").number();
  cursor.word(",\"diff_id\":\"").word(diffId.str());
  meta.entries = cursor.word("\",\"entries\":").number();
  if (!cursor.word(fmt::format(",\"version\":{}}}", kVersion)).isAtEnd()) return std::nullopt;
  // With an escape it is no text as it stands.
  if (meta.bootId.find('\\') != std::string::npos) return std::nullopt;
  return meta;
}

std::optional<LayerMeta> parse(const std::string& text, const std::string& path) {
  const Json document = parseJson(text, path);
  const JsonReader json{document, path};
  if (json.get("version").integer() != kVersion) return std::nullopt;
  return LayerMeta{json.get("diff_id").digest(), json.get("entries").size(),
                   json.get("bytes").size(),     json.get("boot_id").string(),
                   json.booleanOr("user_marks"), json.stringOr("id_maps"),
                   json.stringOr("archive")};
}

}  // namespace

std::string presentIdMaps() {
  return recordsOwners() ? std::string{text::trim(ownIdMaps().text())} : std::string{};
}

std::optional<LayerMeta> readLayerMeta(const Layout& layout, const Digest& diffId) {
  const std::string path = diffId.hex() + "/meta";
  const auto text = fs::tryReadFile(layout.layers(), path, kMaxSize);
  if (!text) return std::nullopt;
  if (auto meta = readPlainForm(*text, diffId)) return meta;
  try {
    auto meta = parse(*text, path);
    if (meta && meta->diffId != diffId) return std::nullopt;
    return meta;
  } catch (const Error& error) {
    // Cut short by a crash: the folder is garbage, not a layer.
    log::info("layers/{}", error.cause());
    return std::nullopt;
  }
}

void writeLayerMeta(int folder, const LayerMeta& meta) {
  Json json = {{"boot_id", meta.bootId},
               {"bytes", meta.bytes},
               {"diff_id", meta.diffId.str()},
               {"entries", meta.entries},
               {"version", kVersion}};
  if (meta.hasUserMarks) json["user_marks"] = true;
  if (!meta.idMaps.empty()) json["id_maps"] = meta.idMaps;
  if (!meta.archive.empty()) json["archive"] = meta.archive;
  Fd fd = sys::openat(folder, "meta", O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, 0644);
  writeAll(fd.get(), dumpJson(json), "meta");
  fd.close("meta");
}

}  // namespace img::store
