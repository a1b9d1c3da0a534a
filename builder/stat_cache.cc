#include "builder/stat_cache.h"

#include <fcntl.h>
#include <malloc.h>

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
  const std::lock_guard lock{mutex_};
  if (StatTable::Fixed* const fixed = add(path, st, readAt)) StatTable::setDigest(*fixed, digest);
}

StatTable::Fixed* StatCache::expect(std::string_view path, const struct stat& st,
                                    std::int64_t readAt) {
  const std::lock_guard lock{mutex_};
  return add(path, st, readAt);
}

StatTable::Fixed* StatCache::add(std::string_view path, const struct stat& st,
                                 std::int64_t readAt) {
  if (std::max(nanoseconds(st.st_mtim), nanoseconds(st.st_ctim)) + tickOf(st) >= readAt)
    return nullptr;
  const auto [parent, name] = split(path);
  const std::string* folder = added_.empty() ? nullptr : added_.back().folder;
  if (folder == nullptr || *folder != parent) folder = &*folders_.emplace(parent).first;
  const auto begin = static_cast<std::uint32_t>(names_.size());
  names_ += name;
  return &added_
              .emplace_back(Added{folder, begin, static_cast<std::uint32_t>(name.size()),
                                  StatTable::fixedOf(st)})
              .fixed;
}

// What is worth keeping, in the order of the file.
std::vector<Row> StatCache::rows() const {
  std::vector<Row> all;
  size_t most = added_.size();
  for (const auto& table : tables_) most += table->size();
  all.reserve(most);
  const std::string_view names{names_};
  for (const Added& entry : added_) {
    all.push_back({*entry.folder, names.substr(entry.name, entry.length),
                   reinterpret_cast<const char*>(&entry.fixed)});
  }
  for (auto table = tables_.rbegin(); table != tables_.rend(); ++table)
    (*table)->forEachUsed([&](const Row& row) { all.push_back(row); });
  // Of one file the newest entry is the first one.
  if (!std::is_sorted(all.begin(), all.end(), isBefore))
    std::stable_sort(all.begin(), all.end(), isBefore);
  const auto isSame = [](const Row& a, const Row& b) { return !isBefore(a, b) && !isBefore(b, a); };
  all.erase(std::unique(all.begin(), all.end(), isSame), all.end());
  return all;
}

// Null unless what has to be saved is one that was absorbed, with all that it has.
const StatTable* StatCache::wholeTable() const {
  const bool isAlone = added_.empty() && tables_.size() == 2 && tables_[0]->size() == 0;
  return isAlone && tables_[1]->size() > 0 && tables_[1]->isAllUsed() ? tables_[1].get() : nullptr;
}

void StatCache::save() {
  if (added_.empty() && tables_.size() == 1) return;
  // What was needed to look at many files is not there any more, and what is needed now would come
  // on top of it: malloc keeps it.
  constexpr size_t kMany = 20'000;
  if (added_.size() > kMany || tables_.back()->size() > kMany) ::malloc_trim(0);
  const std::string temporary = fileName_ + ".tmp-" + fs::randomHex(12);
  const Fd file =
      sys::openat(directory_.get(), temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0600);
  try {
    if (const StatTable* const all = wholeTable()) {
      all->copyTo(file.get());
    } else {
      StatTable::write(file.get(), rows());
    }
    sys::renameat(directory_.get(), temporary, directory_.get(), fileName_);
  } catch (...) {
    sys::tryUnlinkat(directory_.get(), temporary, 0);
    throw;
  }
  added_.clear();
  folders_.clear();
  names_.clear();
}

}  // namespace img::builder
