#include "builder/stat_table.h"

#include <libdeflate.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <ctime>
#include <span>

#include "base/fd.h"
#include "base/sys.h"

namespace img::builder {
namespace {

constexpr std::string_view kMagic = "img stat cache 5\n";

Digest digestFrom(const std::uint8_t (&raw)[32]) {
  Digest::Bytes bytes;
  std::memcpy(bytes.data(), raw, bytes.size());
  return Digest{bytes};
}

void setRaw(std::uint8_t (&raw)[32], const Digest& digest) {
  std::memcpy(raw, digest.bytes().data(), sizeof raw);
}

// The values of the file are not aligned. What a damaged file says is outside of it is nothing.
template <class T>
T load(std::string_view bytes, size_t offset) {
  T value{};
  if (offset <= bytes.size() && bytes.size() - offset >= sizeof value)
    std::memcpy(&value, bytes.data() + offset, sizeof value);
  return value;
}

std::string_view slice(std::string_view bytes, size_t offset, size_t length) {
  return offset <= bytes.size() ? bytes.substr(offset, length) : std::string_view{};
}

// The file: magic, this, a FolderRecord for each folder by path, and for each folder its path, the
// offset (4 bytes, from the first of these) and length (4 bytes) of the name of each file, then for
// each file, by name, its Fixed and its name.
struct Head {
  std::uint32_t checksum;  // CRC-32 of all that follows: a torn file is no cache
  std::uint32_t folders;
  std::uint64_t files;
};

constexpr size_t kTable = kMagic.size() + sizeof(Head);

std::uint32_t checksumOf(std::string_view text) {
  const std::string_view bytes = slice(text, kMagic.size() + sizeof(Head::checksum), text.size());
  return ::libdeflate_crc32(0, bytes.data(), bytes.size());
}

}  // namespace

std::int64_t nanoseconds(const timespec& time) {
  return std::int64_t{time.tv_sec} * 1'000'000'000 + time.tv_nsec;
}

std::int64_t currentNanoseconds() {
  timespec time{};
  ::clock_gettime(CLOCK_REALTIME, &time);
  return nanoseconds(time);
}

struct StatTable::FolderRecord {
  std::uint64_t path, files;  // offsets, of the path and of the offsets of the files
  std::uint64_t end;
  std::uint32_t pathLength, count;
  std::uint64_t first;  // number of its first file
};

StatTable::Fixed StatTable::fixedOf(const struct stat& st) {
  Fixed fixed{};
  fixed.device = st.st_dev;
  fixed.inode = st.st_ino;
  fixed.size = static_cast<std::uint64_t>(st.st_size);
  fixed.mode = st.st_mode;
  fixed.mtime = nanoseconds(st.st_mtim);
  fixed.ctime = nanoseconds(st.st_ctim);
  return fixed;
}

void StatTable::setDigest(Fixed& fixed, const FileDigest& digest) {
  fixed.xattrs = digest.xattrs;
  setRaw(fixed.whole, digest.whole);
  setRaw(fixed.content, digest.content);
}

StatTable::StatTable(int directory, const std::string& fileName)
    : file_(MappedFile::tryOpen(directory, fileName, size_t{1} << 30)) {
  if (file_) read(file_->bytes());
}

void StatTable::read(std::string_view text) {
  if (!text.starts_with(kMagic)) return;
  const Head head = load<Head>(text, kMagic.size());
  const bool isPossible = head.files <= text.size() && head.folders <= head.files;
  if (checksumOf(text) != head.checksum || !isPossible) return;
  bytes_ = text;
  folders_ = head.folders;
  isUsed_.resize(head.files);
}

StatTable::FolderRecord StatTable::folderAt(size_t index) const {
  return load<FolderRecord>(bytes_, kTable + index * sizeof(FolderRecord));
}

std::string_view StatTable::pathOf(const FolderRecord& folder) const {
  return slice(bytes_, folder.path, folder.pathLength);
}

// The first folder whose path is not before `path`.
size_t StatTable::firstFrom(std::string_view path) const {
  size_t low = 0;
  for (size_t high = folders_; low < high;) {
    const size_t middle = low + (high - low) / 2;
    if (pathOf(folderAt(middle)) < path) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

std::optional<StatTable::Folder> StatTable::folder(std::string_view path) {
  const size_t index = firstFrom(path);
  if (index == folders_) return std::nullopt;
  const FolderRecord record = folderAt(index);
  const bool isInside =
      record.first <= isUsed_.size() && record.count <= isUsed_.size() - record.first;
  if (pathOf(record) != path || !isInside) return std::nullopt;
  Folder folder;
  folder.table_ = this;
  folder.records_ = slice(bytes_, record.files, record.end - record.files);
  folder.count_ = record.count;
  folder.first_ = record.first;
  return folder;
}

bool StatTable::knowsBelow(std::string_view path) const {
  const size_t index = firstFrom(path);
  return index < folders_ && pathOf(folderAt(index)).starts_with(path);
}

bool StatTable::isAllUsed() const {
  return std::find(isUsed_.begin(), isUsed_.end(), 0) == isUsed_.end();
}

void StatTable::copyTo(int file) const {
  constexpr size_t kPiece = size_t{4} << 20;
  for (std::string_view left = bytes_; !left.empty();
       left.remove_prefix(std::min(kPiece, left.size()))) {
    writeAll(file, left.substr(0, kPiece), "a stat cache");
    leaveMemory();
  }
}

void StatTable::leaveMemory() const {
  if (bytes_.empty()) return;
  // A page of a file that is only read can be had again: madvise(2). That it cannot be is no harm.
  ::madvise(const_cast<char*>(bytes_.data()), bytes_.size(), MADV_DONTNEED);
}

std::string_view StatTable::Folder::nameAt(size_t index) const {
  const auto offset = load<std::uint32_t>(records_, 2 * index * sizeof(std::uint32_t));
  const auto length = load<std::uint32_t>(records_, (2 * index + 1) * sizeof(std::uint32_t));
  return slice(records_, offset, length);
}

std::optional<FileDigest> StatTable::Folder::find(std::string_view name, const struct stat& st) {
  if (next_ >= count_ || nameAt(next_) != name) {
    size_t low = 0;
    for (size_t high = count_; low < high;) {
      const size_t middle = low + (high - low) / 2;
      if (nameAt(middle) < name) {
        low = middle + 1;
      } else {
        high = middle;
      }
    }
    if (low == count_ || nameAt(low) != name) return std::nullopt;
    next_ = low;
  }
  const size_t index = next_++;
  const auto offset = load<std::uint32_t>(records_, 2 * index * sizeof(std::uint32_t));
  const Fixed known = load<Fixed>(records_, offset - sizeof(Fixed));
  const bool isSame = known.device == st.st_dev && known.inode == st.st_ino &&
                      known.size == static_cast<std::uint64_t>(st.st_size) &&
                      known.mode == st.st_mode && known.mtime == nanoseconds(st.st_mtim) &&
                      known.ctime == nanoseconds(st.st_ctim);
  if (!isSame) return std::nullopt;
  table_->isUsed_[first_ + index] = 1;
  return FileDigest{digestFrom(known.whole), digestFrom(known.content), known.xattrs};
}

void StatTable::forEachUsed(const std::function<void(const Row&)>& use) {
  for (size_t i = 0; i < folders_; ++i) {
    const std::string_view path = pathOf(folderAt(i));
    const std::optional<Folder> known = folder(path);
    for (size_t file = 0; known && file < known->count_; ++file) {
      const std::string_view name = known->nameAt(file);
      if (isUsed_[known->first_ + file] != 0) use({path, name, name.data() - sizeof(Fixed)});
    }
  }
}

namespace {

// Bytes of a file, piece by piece: the table of a million files has 150 MB. The checksum is of all
// but the magic and the four bytes for itself.
class TableFile {
 public:
  explicit TableFile(int file) : file_(file) { text_.reserve(kPiece); }

  void put(std::string_view bytes) {
    if (text_.size() + bytes.size() > kPiece) flush();
    text_ += bytes;
  }
  template <class T>
  void putValue(const T& value) {
    put(std::string_view{reinterpret_cast<const char*>(&value), sizeof value});
  }
  void finish() {
    flush();
    const auto at = static_cast<off_t>(kMagic.size());
    sys::check([&] { return ::pwrite(file_, &checksum_, sizeof checksum_, at); },
               "write a stat cache");
  }

 private:
  static constexpr size_t kPiece = size_t{256} << 10;
  void flush() {
    const size_t skipped = isBegun_ ? 0 : kMagic.size() + sizeof(Head::checksum);
    isBegun_ = true;
    const std::string_view counted = slice(text_, skipped, text_.size());
    checksum_ = ::libdeflate_crc32(checksum_, counted.data(), counted.size());
    writeAll(file_, text_, "a stat cache");
    text_.clear();
  }

  int file_;
  std::string text_;
  bool isBegun_ = false;
  std::uint32_t checksum_ = 0;
};

}  // namespace

std::vector<StatTable::FolderRecord> StatTable::foldersOf(const std::vector<Row>& files) {
  std::vector<FolderRecord> folders;
  for (size_t i = 0; i < files.size(); ++i) {
    const std::string_view path = files[i].folder;
    if (i == 0 || path != files[i - 1].folder)
      folders.push_back({0, 0, 0, static_cast<std::uint32_t>(path.size()), 0, i});
    ++folders.back().count;
    folders.back().end += 2 * sizeof(std::uint32_t) + sizeof(Fixed) + files[i].name.size();
  }
  std::uint64_t offset = kTable + folders.size() * sizeof(FolderRecord);
  for (FolderRecord& folder : folders) {  // `end` is the length of its files so far
    folder.path = offset;
    folder.files = offset + folder.pathLength;
    folder.end += folder.files;
    offset = folder.end;
  }
  return folders;
}

void StatTable::write(int file, const std::vector<Row>& files) {
  const std::vector<FolderRecord> folders = foldersOf(files);
  TableFile out{file};
  out.put(kMagic);
  out.putValue(Head{0, static_cast<std::uint32_t>(folders.size()), files.size()});
  for (const FolderRecord& folder : folders) out.putValue(folder);
  for (const FolderRecord& folder : folders) {
    const std::span<const Row> rows = std::span{files}.subspan(folder.first, folder.count);
    out.put(rows.front().folder);
    size_t offset = 2 * sizeof(std::uint32_t) * rows.size();
    for (const Row& row : rows) {
      offset += sizeof(Fixed);
      out.putValue(static_cast<std::uint32_t>(offset));
      out.putValue(static_cast<std::uint32_t>(row.name.size()));
      offset += row.name.size();
    }
    for (const Row& row : rows) {
      out.put({row.fixed, sizeof(Fixed)});
      out.put(row.name);
    }
  }
  out.finish();
}

}  // namespace img::builder
