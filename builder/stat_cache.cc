#include "builder/stat_cache.h"

#include <algorithm>
#include <tuple>
#include <utility>

#include "base/fs.h"
#include "base/sys.h"

namespace img::builder {
namespace {

// File times come from the kernel's coarse clock: a tick of up to 10 ms (CONFIG_HZ=100). Some file
// systems keep whole seconds only (ext4 with inodes of 128 bytes), FAT two of them.
constexpr std::int64_t kTick = 20'000'000, kCoarseTick = 2'000'000'000;

// The time in which two changes of a file may get the same times.
std::int64_t tickOf(const struct stat& st) {
  return st.st_ctim.tv_nsec == 0 ? kCoarseTick + kTick : kTick;
}

// Of a path: its folder, with the '/', and its name.
std::pair<std::string_view, std::string_view> split(std::string_view path) {
  const size_t slash = path.rfind('/');
  const size_t begin = slash == std::string_view::npos ? 0 : slash + 1;
  return {path.substr(0, begin), path.substr(begin)};
}

using Row = StatTable::Row;

bool isBefore(const Row& a, const Row& b) {
  return std::tie(a.folder, a.name) < std::tie(b.folder, b.name);
}

}  // namespace

StatCache::StatCache(const store::Layout& layout, const std::string& contextPath)
    : StatCache(sys::openDirectory(layout.fd(), "cache/stat"), Digest::of(contextPath).hex()) {}

StatCache::StatCache(Fd directory, std::string fileName)
    : directory_(std::move(directory)), fileName_(std::move(fileName)) {
  tables_.push_back(std::make_unique<StatTable>(directory_.get(), fileName_));
}

const StatTable& StatCache::absorb(int directory, const std::string& fileName) {
  return *tables_.emplace_back(std::make_unique<StatTable>(directory, fileName));
}

bool StatCache::knowsBelow(std::string_view path) const {
  return std::any_of(tables_.begin(), tables_.end(),
                     [&](const auto& table) { return table->knowsBelow(path); });
}

StatCache::Folder StatCache::folder(std::string_view path) {
  Folder folder;
  for (auto table = tables_.rbegin(); table != tables_.rend(); ++table) {
    if (auto known = (*table)->folder(path)) folder.tables_.push_back(*known);
  }
  return folder;
}

std::optional<FileDigest> StatCache::Folder::find(std::string_view name, const struct stat& st) {
  for (StatTable::Folder& table : tables_) {
    if (auto digest = table.find(name, st)) return digest;
  }
  return std::nullopt;
}

std::optional<FileDigest> StatCache::find(std::string_view path, const struct stat& st) {
  const auto [parent, name] = split(path);
  return folder(parent).find(name, st);
}

void StatCache::remember(std::string_view path, const struct stat& st, const FileDigest& digest,
                         std::int64_t readAt) {
  if (std::max(nanoseconds(st.st_mtim), nanoseconds(st.st_ctim)) + tickOf(st) >= readAt) return;
  auto fixed = std::make_unique<StatTable::Fixed>(StatTable::fixedOf(st, digest));
  const std::lock_guard lock{mutex_};
  added_.push_back({std::string{path}, std::move(fixed)});
}

// What is worth keeping, in the order of the file.
std::vector<Row> StatCache::rows() const {
  std::vector<Row> all;
  for (const Added& entry : added_) {
    const auto [parent, name] = split(entry.path);
    all.push_back({parent, name, reinterpret_cast<const char*>(entry.fixed.get())});
  }
  for (auto table = tables_.rbegin(); table != tables_.rend(); ++table)
    (*table)->forEachUsed([&](const Row& row) { all.push_back(row); });
  // Of one file the newest entry is the first one.
  std::stable_sort(all.begin(), all.end(), isBefore);
  const auto isSame = [](const Row& a, const Row& b) { return !isBefore(a, b) && !isBefore(b, a); };
  all.erase(std::unique(all.begin(), all.end(), isSame), all.end());
  return all;
}

void StatCache::save() {
  if (added_.empty() && tables_.size() == 1) return;
  fs::replaceFile(directory_.get(), fileName_, StatTable::encode(rows()), 0600, fs::Sync::none);
  added_.clear();
}

}  // namespace img::builder
