#include "builder/inputs.h"

#include <algorithm>
#include <cstring>
#include <ctime>
#include <nlohmann/json.hpp>

#include "base/fs.h"
#include "base/json.h"
#include "base/log.h"
#include "base/sys.h"
#include "base/text.h"
#include "builder/secret_guard.h"
#include "builder/seen.h"

namespace img::builder {
namespace {

constexpr char kInputs[] = "cache/inputs";
constexpr char kLast[] = "cache/last";
constexpr char kEvicted[] = "cache/evicted";
constexpr size_t kNewest = 8;             // records that a place or text remembers
constexpr size_t kMaxValue = 64 << 10;    // a longer value is kept as its digest
constexpr size_t kMaxRecord = 256 << 20;  // three million files

// The folders exist from the first record on; a store of an earlier version lacks them.
std::optional<Fd> tryFolder(const store::Layout& layout, const char* name) {
  return sys::tryOpenat(layout.fd(), name, O_RDONLY | O_DIRECTORY);
}

Fd makeFolder(const store::Layout& layout, const char* name) {
  if (auto folder = tryFolder(layout, name)) return std::move(*folder);
  sys::tryMkdirat(layout.fd(), name, 0700);
  return sys::openDirectory(layout.fd(), name);
}

std::string pointerName(std::initializer_list<std::string_view> parts) {
  Hasher hasher;
  for (const std::string_view part : parts) hasher.field(part);
  return hasher.finish().hex();
}

std::string placePointer(const StepPlace& place) {
  return pointerName(
      {"place", place.dockerfile, place.stage, place.kind, std::to_string(place.position)});
}

std::string textPointer(const StepPlace& place) {
  return pointerName({"text", place.text});
}

std::string kept(std::string value) {
  if (value.size() <= kMaxValue) return value;
  return fmt::format("{} ({} bytes)", Digest::of(value).str(), value.size());
}

std::vector<std::string> keysIn(int folder, const std::string& pointer) {
  const auto text = fs::tryReadFile(folder, pointer);
  if (!text) return {};
  std::vector<std::string> keys = text::split(*text, '\n');
  keys.erase(std::remove_if(keys.begin(), keys.end(),
                            [](const std::string& key) { return !Digest::tryParseHex(key); }),
             keys.end());
  return keys;
}

bool isSamePlace(const StepPlace& a, const StepPlace& b) {
  return a.dockerfile == b.dockerfile && a.stage == b.stage && a.kind == b.kind &&
         a.position == b.position;
}

}  // namespace

void InputList::add(std::string kind, std::string name, std::string value, std::string detail) {
  inputs.push_back({std::move(kind), std::move(name), kept(std::move(value)), std::move(detail)});
}

void InputList::addVariable(std::string kind, const std::string& name, std::string_view value) {
  if (isSecretName(name)) return add(std::move(kind), name, Digest::of(value).str());
  add(std::move(kind), name, std::string{value});
}

void InputList::addFiles(const Seen& seen) {
  files.reserve(files.size() + seen.size());
  seen.forEachFile([&](const SeenFile& file) {
    const auto size = static_cast<std::uint64_t>(file.size);
    files.push_back({file.path, file.mode, size, file.content, file.xattrs, {}});
  });
  seen.forEachOther([&](const SeenOther& other) {
    files.push_back({other.path, other.mode, 0, {}, other.xattrs, other.link});
  });
}

void InputList::sortFiles() {
  const auto isBefore = [](const FileInput& a, const FileInput& b) { return a.path < b.path; };
  std::stable_sort(files.begin(), files.end(), isBefore);
  const auto isSame = [](const FileInput& a, const FileInput& b) { return a.path == b.path; };
  files.erase(std::unique(files.begin(), files.end(), isSame), files.end());
}

InputStore::InputStore(const store::Layout& layout) : layout_(layout) {}

std::optional<InputRecord> InputStore::find(const Digest& key) const {
  const auto folder = tryFolder(layout_, kInputs);
  if (!folder) return std::nullopt;
  const auto bytes = fs::tryReadFile(folder->get(), key.hex(), kMaxRecord);
  return bytes ? decodeInputs(*bytes) : std::nullopt;
}

std::vector<InputRecord> InputStore::candidates(const std::string& pointer) const {
  std::vector<InputRecord> records;
  const auto folder = tryFolder(layout_, kLast);
  if (!folder) return records;
  for (const std::string& key : keysIn(folder->get(), pointer)) {
    if (auto record = find(*Digest::tryParseHex(key))) records.push_back(std::move(*record));
  }
  return records;
}

std::optional<InputRecord> InputStore::findClosest(const StepPlace& place) const {
  std::vector<InputRecord> here = candidates(placePointer(place));
  for (InputRecord& record : here) {
    if (record.place.text == place.text) return std::move(record);
  }
  // A line that was moved, or one above it that was added, is still the same step.
  std::vector<InputRecord> alike = candidates(textPointer(place));
  for (InputRecord& record : alike) {
    if (record.place.dockerfile == place.dockerfile && record.place.stage == place.stage)
      return std::move(record);
  }
  for (InputRecord& record : here) {
    if (isSamePlace(record.place, place)) return std::move(record);
  }
  if (!alike.empty()) return std::move(alike.front());
  return std::nullopt;
}

void InputStore::write(const std::vector<Digest>& keys, const InputRecord& record) const {
  if (keys.empty()) return;
  const Fd folder = makeFolder(layout_, kInputs);
  const std::string bytes = encodeInputs(record);
  for (const Digest& key : keys) {
    fs::replaceFile(folder.get(), key.hex(), bytes, 0600, fs::Sync::none);
    if (const auto evicted = tryFolder(layout_, kEvicted))
      sys::tryUnlinkat(evicted->get(), key.hex(), 0);
  }
  point(placePointer(record.place), keys.front());
  point(textPointer(record.place), keys.front());
}

// Two builds that write at once may lose one of the two names, which costs an explanation.
void InputStore::point(const std::string& pointer, const Digest& key) const {
  const Fd folder = makeFolder(layout_, kLast);
  std::vector<std::string> keys = keysIn(folder.get(), pointer);
  keys.erase(std::remove(keys.begin(), keys.end(), key.hex()), keys.end());
  keys.insert(keys.begin(), key.hex());
  if (keys.size() > kNewest) keys.resize(kNewest);
  fs::replaceFile(folder.get(), pointer, text::join(keys, "\n") + "\n", 0600, fs::Sync::none);
}

void noteEviction(const store::Layout& layout, const Digest& key, std::string_view by) {
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME, &now);
  const Json note{{"at", text::formatTime(now.tv_sec)}, {"by", by}};
  fs::replaceFile(makeFolder(layout, kEvicted).get(), key.hex(), dumpJson(note), 0600,
                  fs::Sync::none);
}

std::optional<Eviction> findEviction(const store::Layout& layout, const Digest& key) try {
  const auto folder = tryFolder(layout, kEvicted);
  const auto text = folder ? fs::tryReadFile(folder->get(), key.hex()) : std::nullopt;
  if (!text) return std::nullopt;
  const Json note = parseJson(*text, "note of an eviction");
  return Eviction{note.at("by").get<std::string>(), note.at("at").get<std::string>()};
} catch (const std::exception& error) {
  log::info("the note of what removed the layer of {} is not usable: {}", key.shortHex(),
            error.what());
  return std::nullopt;
}

}  // namespace img::builder
