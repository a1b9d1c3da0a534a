#include "builder/stat_cache.h"

#include <algorithm>
#include <cstring>
#include <ctime>

#include "base/fs.h"
#include "base/sys.h"

namespace img::builder {
namespace {

constexpr std::string_view kMagic = "img stat cache 4\n";

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

}  // namespace

std::int64_t nanoseconds(const timespec& time) {
  return std::int64_t{time.tv_sec} * 1'000'000'000 + time.tv_nsec;
}

std::int64_t currentNanoseconds() {
  timespec time{};
  ::clock_gettime(CLOCK_REALTIME, &time);
  return nanoseconds(time);
}

// The file: magic, then per path this and the path.
struct StatCache::Fixed {
  std::uint64_t device, inode, size, mode;
  std::int64_t mtime, ctime;  // nanoseconds
  std::uint8_t whole[32], content[32];
  std::uint64_t xattrs;
  std::uint64_t pathLength;
};

StatCache::~StatCache() = default;

StatCache::StatCache(const store::Layout& layout, const std::string& contextPath)
    : folder_(sys::openDirectory(layout.fd(), "cache/stat")),
      fileName_(Digest::of(contextPath).hex()) {
  file_ = MappedFile::tryOpen(folder_.get(), fileName_, size_t{1} << 30);
  if (file_) read(file_->bytes());
}

void StatCache::read(std::string_view text) {
  if (!text.starts_with(kMagic) || text.size() < kMagic.size() + 32) return;
  // The last 32 bytes are the digest of all before them: a torn file is no cache.
  const std::string_view body = text.substr(0, text.size() - 32);
  const Digest digest = Digest::of(body);
  if (std::memcmp(digest.bytes().data(), text.data() + body.size(), 32) != 0) return;
  text = body.substr(kMagic.size());
  constexpr size_t kUsualPath = 24;
  entries_.reserve(text.size() / (sizeof(Fixed) + kUsualPath));
  while (text.size() >= sizeof(Fixed)) {
    Fixed fixed;
    std::memcpy(&fixed, text.data(), sizeof fixed);
    const char* start = text.data();
    text.remove_prefix(sizeof fixed);
    entries_.push_back({text.substr(0, fixed.pathLength), start});
    text.remove_prefix(std::min<size_t>(fixed.pathLength, text.size()));
  }
}

StatCache::Entry* StatCache::lookUp(std::string_view path) {
  if (next_ < entries_.size() && entries_[next_].path == path) return &entries_[next_];
  const auto at = std::lower_bound(
      entries_.begin(), entries_.end(), path,
      [](const Entry& entry, std::string_view wanted) { return entry.path < wanted; });
  if (at == entries_.end() || at->path != path) return nullptr;
  next_ = static_cast<size_t>(at - entries_.begin());
  return &*at;
}

std::optional<FileDigest> StatCache::find(std::string_view path, const struct stat& st) {
  Entry* entry = lookUp(path);
  if (entry == nullptr) return std::nullopt;
  ++next_;
  Fixed known;
  std::memcpy(&known, entry->fixed, sizeof known);
  const bool isSame = known.device == st.st_dev && known.inode == st.st_ino &&
                      known.size == static_cast<std::uint64_t>(st.st_size) &&
                      known.mode == st.st_mode && known.mtime == nanoseconds(st.st_mtim) &&
                      known.ctime == nanoseconds(st.st_ctim);
  if (!isSame) return std::nullopt;
  entry->isUsed = true;
  return FileDigest{digestFrom(known.whole), digestFrom(known.content), known.xattrs};
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
  fixed->pathLength = path.size();
  copyTo(fixed->whole, digest.whole);
  copyTo(fixed->content, digest.content);
  added_.push_back({std::string{path}, std::move(fixed)});
}

void StatCache::save() {
  if (added_.empty()) return;
  std::vector<Entry> all;
  all.reserve(added_.size() + entries_.size());
  for (const Added& entry : added_)
    all.push_back({entry.path, reinterpret_cast<const char*>(entry.fixed.get())});
  for (const Entry& entry : entries_) {
    if (entry.isUsed) all.push_back(entry);
  }
  std::sort(all.begin(), all.end(), [](const Entry& a, const Entry& b) { return a.path < b.path; });
  std::string text{kMagic};
  for (const Entry& entry : all) {
    text.append(entry.fixed, sizeof(Fixed));
    text.append(entry.path);
  }
  const Digest digest = Digest::of(text);
  text.append(reinterpret_cast<const char*>(digest.bytes().data()), 32);
  fs::replaceFile(folder_.get(), fileName_, text, 0600, fs::Sync::none);
  added_.clear();
}

}  // namespace img::builder
