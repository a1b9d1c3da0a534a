// The file of an input record: magic, fields with their lengths, and the digest of all before it,
// so that a torn file is no record. A context of 13,700 files is one record, so paths are written
// as what they do not share with the path before, and digests as bytes.
#include <algorithm>
#include <cstring>

#include "builder/inputs.h"

namespace img::builder {
namespace {

// Raise the number when a field or the meaning of an input changes.
constexpr std::string_view kMagic = "img inputs 1\n";
constexpr size_t kDigestSize = sizeof(Digest::Bytes);

class Writer {
 public:
  void number(std::uint64_t value) {  // LEB128
    while (value >= 0x80) {
      out += static_cast<char>(value | 0x80);
      value >>= 7;
    }
    out += static_cast<char>(value);
  }
  void text(std::string_view value) {
    number(value.size());
    out += value;
  }
  void digest(const Digest& value) {
    out.append(reinterpret_cast<const char*>(value.bytes().data()), kDigestSize);
  }
  std::string out{kMagic};
};

// After the first thing that is not there everything is empty, and isWhole is false.
class Reader {
 public:
  explicit Reader(std::string_view bytes) : rest_(bytes) {}
  std::uint64_t number() {
    std::uint64_t value = 0;
    for (unsigned shift = 0; shift < 64 && !rest_.empty(); shift += 7) {
      const auto byte = static_cast<unsigned char>(rest_.front());
      rest_.remove_prefix(1);
      value |= static_cast<std::uint64_t>(byte & 0x7f) << shift;
      if ((byte & 0x80) == 0) return value;
    }
    isWhole = false;
    return 0;
  }
  std::string text() { return std::string{take(number())}; }
  Digest digest() {
    Digest::Bytes bytes{};
    const std::string_view raw = take(kDigestSize);
    std::copy(raw.begin(), raw.end(), bytes.begin());
    return Digest{bytes};
  }
  [[nodiscard]] size_t left() const { return rest_.size(); }
  bool isWhole = true;

 private:
  std::string_view take(std::uint64_t count) {
    if (count > rest_.size()) {
      isWhole = false;
      rest_ = {};
      return {};
    }
    const std::string_view taken = rest_.substr(0, count);
    rest_.remove_prefix(count);
    return taken;
  }
  std::string_view rest_;
};

size_t sharedPrefix(std::string_view a, std::string_view b) {
  const auto ends = std::mismatch(a.begin(), a.end(), b.begin(), b.end());
  return static_cast<size_t>(ends.first - a.begin());
}

void writeFiles(Writer& writer, const std::vector<FileInput>& files) {
  writer.number(files.size());
  std::string_view previous;
  for (const FileInput& file : files) {
    const size_t shared = sharedPrefix(previous, file.path);
    writer.number(shared);
    writer.text(std::string_view{file.path}.substr(shared));
    previous = file.path;
    writer.number(file.mode);
    writer.number(file.xattrs);
    if (S_ISREG(file.mode)) {
      writer.number(file.size);
      writer.digest(file.content);
    } else if (!S_ISDIR(file.mode)) {
      writer.text(file.link);
    }
  }
}

void readFiles(Reader& reader, std::vector<FileInput>& files) {
  const std::uint64_t count = reader.number();
  files.reserve(std::min<std::uint64_t>(count, reader.left() / 4));  // an entry is no shorter
  for (std::uint64_t i = 0; i < count && reader.isWhole; ++i) {
    FileInput file;
    const std::uint64_t shared = reader.number();
    if (shared > 0 && !files.empty()) file.path = files.back().path.substr(0, shared);
    file.path += reader.text();
    file.mode = static_cast<mode_t>(reader.number());
    file.xattrs = reader.number();
    if (S_ISREG(file.mode)) {
      file.size = reader.number();
      file.content = reader.digest();
    } else if (!S_ISDIR(file.mode)) {
      file.link = reader.text();
    }
    files.push_back(std::move(file));
  }
}

}  // namespace

std::string encodeInputs(const InputRecord& record) {
  Writer writer;
  for (const std::string* text : {&record.place.dockerfile, &record.place.stage, &record.place.kind,
                                  &record.place.text, &record.buildId, &record.at}) {
    writer.text(*text);
  }
  writer.number(static_cast<std::uint64_t>(record.place.position));
  writer.number(static_cast<std::uint64_t>(record.step));
  writer.number(static_cast<std::uint64_t>(record.seconds * 1000));
  writer.number(record.list.inputs.size());
  for (const Input& input : record.list.inputs) {
    for (const std::string* text : {&input.kind, &input.name, &input.value, &input.detail})
      writer.text(*text);
  }
  writeFiles(writer, record.list.files);
  writer.digest(Digest::of(writer.out));
  return std::move(writer.out);
}

std::optional<InputRecord> decodeInputs(std::string_view bytes) {
  if (!bytes.starts_with(kMagic) || bytes.size() < kMagic.size() + kDigestSize) return std::nullopt;
  const std::string_view body = bytes.substr(0, bytes.size() - kDigestSize);
  if (Reader{bytes.substr(body.size())}.digest() != Digest::of(body)) return std::nullopt;
  Reader reader{body.substr(kMagic.size())};
  InputRecord record;
  for (std::string* text : {&record.place.dockerfile, &record.place.stage, &record.place.kind,
                            &record.place.text, &record.buildId, &record.at}) {
    *text = reader.text();
  }
  record.place.position = static_cast<int>(reader.number());
  record.step = static_cast<int>(reader.number());
  record.seconds = static_cast<double>(reader.number()) / 1000;
  const std::uint64_t count = reader.number();
  for (std::uint64_t i = 0; i < count && reader.isWhole; ++i) {
    Input input;
    for (std::string* text : {&input.kind, &input.name, &input.value, &input.detail})
      *text = reader.text();
    record.list.inputs.push_back(std::move(input));
  }
  readFiles(reader, record.list.files);
  if (!reader.isWhole) return std::nullopt;
  return record;
}

}  // namespace img::builder
