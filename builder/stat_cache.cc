#include "builder/stat_cache.h"

#include <libdeflate.h>

#include <algorithm>
#include <cstring>
#include <ctime>
#include <span>
#include <tuple>
#include <utility>

#include "base/fs.h"
#include "base/sys.h"

namespace img::builder {
namespace {

constexpr std::string_view kMagic = "img stat cache 5\n";

Digest digestFrom(const std::uint8_t (&raw)[32]) {
  Digest::Bytes bytes;
  std::memcpy(bytes.data(), raw, bytes.size());
  return Digest{bytes};
}

void copyTo(std::uint8_t (&raw)[32], const Digest& digest) {
  std::memcpy(raw, digest.bytes().data(), sizeof raw);
}

// File times come from the kernel's coarse clock: a tick of up to 10 ms (CONFIG_HZ=100). Some file
// systems keep whole seconds only (ext4 with inodes of 128 bytes), FAT two of them.
constexpr std::int64_t kTick = 20'000'000, kCoarseTick = 2'000'000'000;

// The time in which two changes of a file may get the same times.
std::int64_t tickOf(const struct stat& st) {
  return st.st_ctim.tv_nsec == 0 ? kCoarseTick + kTick : kTick;
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

template <class T>
void append(std::string& text, const T& value) {
  text.append(reinterpret_cast<const char*>(&value), sizeof value);
}

// Of a path: its folder, with the '/', and its name.
std::pair<std::string_view, std::string_view> split(std::string_view path) {
  const size_t slash = path.rfind('/');
  const size_t begin = slash == std::string_view::npos ? 0 : slash + 1;
  return {path.substr(0, begin), path.substr(begin)};
}

// The file: magic, this, a FolderRecord for each folder by path, and for each folder its path, the
// offset (4 bytes, from the first of these) and length (4 bytes) of the name of each file, then for
// each file, by name, its Fixed and its name.
struct Head {
  std::uint32_t checksum;  // CRC-32 of all that follows: a torn file is no cache
  std::uint32_t folders;
  std::uint64_t files;
};

std::uint32_t checksumOf(std::string_view bytes) {
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

struct StatCache::Fixed {
  std::uint64_t device, inode, size;
  std::int64_t mtime, ctime;  // nanoseconds
  std::uint64_t xattrs;
  std::uint32_t mode;
  std::uint8_t whole[32], content[32];
};

struct StatCache::FolderRecord {
  std::uint64_t path, files;  // offsets, of the path and of the offsets of the files
  std::uint64_t end;
  std::uint32_t pathLength, count;
  std::uint64_t first;  // number of its first file
};

struct StatCache::Row {
  std::string_view folder, name;
  const char* fixed;  // a Fixed, not aligned
  bool operator<(const Row& other) const {
    return std::tie(folder, name) < std::tie(other.folder, other.name);
  }
};

StatCache::~StatCache() = default;

StatCache::StatCache(const store::Layout& layout, const std::string& contextPath)
    : directory_(sys::openDirectory(layout.fd(), "cache/stat")),
      fileName_(Digest::of(contextPath).hex()) {
  file_ = MappedFile::tryOpen(directory_.get(), fileName_, size_t{1} << 30);
  if (file_) read(file_->bytes());
}

void StatCache::read(std::string_view text) {
  if (!text.starts_with(kMagic)) return;
  const Head head = load<Head>(text, kMagic.size());
  const std::string_view checked =
      slice(text, kMagic.size() + sizeof head.checksum, std::string_view::npos);
  const bool isPossible = head.files <= text.size() && head.folders <= head.files;
  if (checksumOf(checked) != head.checksum || !isPossible) return;
  bytes_ = text;
  folders_ = head.folders;
  isUsed_.resize(head.files);
}

StatCache::FolderRecord StatCache::folderAt(size_t index) const {
  return load<FolderRecord>(bytes_, kMagic.size() + sizeof(Head) + index * sizeof(FolderRecord));
}

std::string_view StatCache::pathOf(const FolderRecord& folder) const {
  return slice(bytes_, folder.path, folder.pathLength);
}

StatCache::Folder StatCache::folder(std::string_view path) {
  size_t low = 0;
  for (size_t high = folders_; low < high;) {
    const size_t middle = low + (high - low) / 2;
    if (pathOf(folderAt(middle)) < path) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  Folder folder;
  if (low == folders_) return folder;
  const FolderRecord record = folderAt(low);
  const bool isInside =
      record.first <= isUsed_.size() && record.count <= isUsed_.size() - record.first;
  if (pathOf(record) != path || !isInside) return folder;
  folder.cache_ = this;
  folder.records_ = slice(bytes_, record.files, record.end - record.files);
  folder.count_ = record.count;
  folder.first_ = record.first;
  return folder;
}

std::string_view StatCache::Folder::nameAt(size_t index) const {
  const auto offset = load<std::uint32_t>(records_, 2 * index * sizeof(std::uint32_t));
  const auto length = load<std::uint32_t>(records_, (2 * index + 1) * sizeof(std::uint32_t));
  return slice(records_, offset, length);
}

std::optional<FileDigest> StatCache::Folder::find(std::string_view name, const struct stat& st) {
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
  cache_->isUsed_[first_ + index] = 1;
  return FileDigest{digestFrom(known.whole), digestFrom(known.content), known.xattrs};
}

std::optional<FileDigest> StatCache::find(std::string_view path, const struct stat& st) {
  const auto [parent, name] = split(path);
  return folder(parent).find(name, st);
}

void StatCache::remember(std::string_view path, const struct stat& st, const FileDigest& digest,
                         std::int64_t readAt) {
  if (std::max(nanoseconds(st.st_mtim), nanoseconds(st.st_ctim)) + tickOf(st) >= readAt) return;
  auto fixed = std::make_unique<Fixed>();
  fixed->device = st.st_dev;
  fixed->inode = st.st_ino;
  fixed->size = static_cast<std::uint64_t>(st.st_size);
  fixed->mode = st.st_mode;
  fixed->mtime = nanoseconds(st.st_mtim);
  fixed->ctime = nanoseconds(st.st_ctim);
  fixed->xattrs = digest.xattrs;
  copyTo(fixed->whole, digest.whole);
  copyTo(fixed->content, digest.content);
  const std::lock_guard lock{mutex_};
  added_.push_back({std::string{path}, std::move(fixed)});
}

// What is worth keeping, in the order of the file.
std::vector<StatCache::Row> StatCache::rows() {
  std::vector<Row> all;
  all.reserve(added_.size() + isUsed_.size());
  for (const Added& entry : added_) {
    const auto [parent, name] = split(entry.path);
    all.push_back({parent, name, reinterpret_cast<const char*>(entry.fixed.get())});
  }
  for (size_t i = 0; i < folders_; ++i) {
    const std::string_view path = pathOf(folderAt(i));
    const Folder known = folder(path);
    for (size_t file = 0; file < known.count_; ++file) {
      const std::string_view name = known.nameAt(file);
      if (isUsed_[known.first_ + file] != 0)
        all.push_back({path, name, name.data() - sizeof(Fixed)});
    }
  }
  // Of one file the newer entry is the first one.
  std::stable_sort(all.begin(), all.end());
  const auto isSame = [](const Row& a, const Row& b) { return !(a < b) && !(b < a); };
  all.erase(std::unique(all.begin(), all.end(), isSame), all.end());
  return all;
}

// Folder by folder, what follows the table of folders; completes the table. `begin`: where it goes.
std::string StatCache::encode(const std::vector<Row>& all, std::vector<FolderRecord>& folders,
                              size_t begin) {
  std::string text;
  for (FolderRecord& folder : folders) {
    const std::span<const Row> files = std::span{all}.subspan(folder.first, folder.count);
    folder.path = begin + text.size();
    text += files.front().folder;
    folder.files = begin + text.size();
    size_t offset = 2 * sizeof(std::uint32_t) * files.size();
    for (const Row& file : files) {
      offset += sizeof(Fixed);
      append(text, static_cast<std::uint32_t>(offset));
      append(text, static_cast<std::uint32_t>(file.name.size()));
      offset += file.name.size();
    }
    for (const Row& file : files) {
      text.append(file.fixed, sizeof(Fixed));
      text += file.name;
    }
    folder.end = begin + text.size();
  }
  return text;
}

void StatCache::save() {
  if (added_.empty()) return;
  const std::vector<Row> all = rows();
  std::vector<FolderRecord> folders;
  for (size_t i = 0; i < all.size(); ++i) {
    if (i == 0 || all[i].folder != all[i - 1].folder)
      folders.push_back({0, 0, 0, static_cast<std::uint32_t>(all[i].folder.size()), 0, i});
    ++folders.back().count;
  }
  const size_t table = folders.size() * sizeof(FolderRecord);
  const std::string files = encode(all, folders, kMagic.size() + sizeof(Head) + table);
  std::string checked;
  checked.reserve(sizeof(Head) + table + files.size());
  append(checked, static_cast<std::uint32_t>(folders.size()));
  append(checked, std::uint64_t{all.size()});
  if (!folders.empty()) checked.append(reinterpret_cast<const char*>(folders.data()), table);
  checked += files;
  std::string text{kMagic};
  append(text, checksumOf(checked));
  text += checked;
  fs::replaceFile(directory_.get(), fileName_, text, 0600, fs::Sync::none);
  added_.clear();
}

}  // namespace img::builder
