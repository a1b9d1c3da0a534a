#include "store/image_summaries.h"

#include <cstring>

#include "base/fs.h"
#include "base/log.h"
#include "base/sys.h"
#include "store/images.h"
#include "store/layers.h"

namespace img::store {
namespace {

constexpr char kFile[] = "cache/images";
constexpr std::uint64_t kVersion = 1;
constexpr size_t kDigestSize = sizeof(Digest::Bytes);

class Writer {
 public:
  void number(std::uint64_t value) {
    char raw[sizeof value];
    std::memcpy(raw, &value, sizeof value);  // read on the same machine only
    text.append(raw, sizeof raw);
  }
  void digest(const Digest& value) { text.append(asText(std::as_bytes(std::span{value.bytes()}))); }
  void string(std::string_view value) {
    number(value.size());
    text += value;
  }
  std::string text;
};

// Reads past the end give nothing, and isGood is false from then on.
class Reader {
 public:
  explicit Reader(std::string_view text) : rest_(text) {}
  std::uint64_t number() {
    std::uint64_t value = 0;
    const std::string_view raw = take(sizeof value);
    if (isGood) std::memcpy(&value, raw.data(), sizeof value);
    return value;
  }
  Digest digest() {
    Digest::Bytes bytes{};
    const std::string_view raw = take(kDigestSize);
    if (isGood) std::memcpy(bytes.data(), raw.data(), kDigestSize);
    return Digest{bytes};
  }
  std::string string() { return std::string{take(number())}; }
  bool isGood = true;

 private:
  std::string_view take(std::uint64_t count) {
    isGood = isGood && count <= rest_.size();
    if (!isGood) return {};
    const std::string_view taken = rest_.substr(0, count);
    rest_.remove_prefix(count);
    return taken;
  }
  std::string_view rest_;
};

}  // namespace

ImageSummaries::ImageSummaries(const Layout& layout) : layout_(layout) {
  read();
  for (fs::Entry& entry : fs::list(layout.layers())) unpacked_.insert(std::move(entry.name));
}

void ImageSummaries::read() {
  const auto text = fs::tryReadFile(layout_.fd(), kFile);
  if (!text || text->size() < kDigestSize) return;
  const std::string_view body = std::string_view{*text}.substr(0, text->size() - kDigestSize);
  Reader end{std::string_view{*text}.substr(body.size())};
  if (end.digest() == Digest::of(body) && tryDecode(body)) return;
  log::info("{} is damaged, and made again", kFile);
  entries_.clear();
}

bool ImageSummaries::tryDecode(std::string_view text) {
  Reader reader{text};
  if (reader.number() != kVersion) return false;
  const std::uint64_t count = reader.number();
  for (std::uint64_t i = 0; i < count && reader.isGood; ++i) {
    Entry& entry = entries_[reader.digest()];
    entry.summary.id = reader.digest();
    entry.summary.created = reader.string();
    for (std::uint64_t n = reader.number(); n > 0 && reader.isGood; --n) {
      std::string key = reader.string();
      entry.summary.labels.emplace(std::move(key), reader.string());
    }
    for (std::uint64_t n = reader.number(); n > 0 && reader.isGood; --n) {
      Layer& layer = entry.layers.emplace_back();
      layer.diffId = reader.digest();
      layer.size = reader.number();
      layer.isKnown = reader.number() != 0;
    }
  }
  return reader.isGood;
}

std::string ImageSummaries::encode() const {
  Writer writer;
  std::uint64_t count = 0;
  for (const auto& [manifest, entry] : entries_) count += entry.isUsed ? 1 : 0;
  writer.number(kVersion);
  writer.number(count);
  for (const auto& [manifest, entry] : entries_) {
    if (!entry.isUsed) continue;
    writer.digest(manifest);
    writer.digest(entry.summary.id);
    writer.string(entry.summary.created);
    writer.number(entry.summary.labels.size());
    for (const auto& [key, value] : entry.summary.labels) {
      writer.string(key);
      writer.string(value);
    }
    writer.number(entry.layers.size());
    for (const Layer& layer : entry.layers) {
      writer.digest(layer.diffId);
      writer.number(layer.size);
      writer.number(layer.isKnown ? 1 : 0);
    }
  }
  writer.digest(Digest::of(writer.text));
  return std::move(writer.text);
}

bool ImageSummaries::isPresent(const Descriptor& manifest, const Digest& id) const {
  const auto document = sys::tryFstatat(layout_.blobs(), manifest.digest.hex());
  return document && static_cast<std::uint64_t>(document->st_size) == manifest.size &&
         sys::tryFstatat(layout_.blobs(), id.hex());
}

// A layer that has been unpacked since has told how large its files are.
void ImageSummaries::settleSizes(Entry& entry) {
  entry.summary.size = 0;
  for (Layer& layer : entry.layers) {
    if (!layer.isKnown && unpacked_.contains(layer.diffId.hex())) {
      const Layers layers{layout_};
      if (layers.has(layer.diffId)) {
        layer.size = layers.sizeOf(layer.diffId);
        layer.isKnown = isChanged_ = true;
      }
    }
    entry.summary.size += layer.size;
  }
}

ImageSummary ImageSummaries::of(const Descriptor& manifest) {
  const auto known = entries_.find(manifest.digest);
  if (known != entries_.end() && isPresent(manifest, known->second.summary.id)) {
    known->second.isUsed = true;
    settleSizes(known->second);
    return known->second.summary;
  }
  const Image image = Images{layout_}.load(manifest);
  Entry entry;
  entry.summary = {image.id, image.config.created, image.config.labels, 0};
  for (size_t i = 0; i < image.manifest.layers.size(); ++i)
    entry.layers.push_back({image.config.diffIds[i], image.manifest.layers[i].size, false});
  settleSizes(entry);
  if (isIndexType(manifest.mediaType)) return entry.summary;
  entry.isUsed = isChanged_ = true;
  return entries_.insert_or_assign(manifest.digest, std::move(entry)).first->second.summary;
}

void ImageSummaries::save() {
  if (!isChanged_) return;
  try {
    fs::replaceFile(layout_.fd(), kFile, encode(), 0600, fs::Sync::none);
    isChanged_ = false;
  } catch (const Error& error) {
    log::debug("{}: {}", kFile, error.cause());  // a full disk, or a store of somebody else
  }
}

}  // namespace img::store
