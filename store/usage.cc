#include "store/usage.h"

#include <dirent.h>

#include <vector>

#include "base/fs.h"
#include "base/sys.h"

namespace img::store {
namespace {

// None of a folder that has just been removed: getdents64(2) fails with ENOENT there.
std::vector<fs::Entry> listPresent(int folder) {
  try {
    return fs::list(folder);
  } catch (const Error& error) {
    if (error.errnum() != ENOENT) throw;
    return {};
  }
}

constexpr std::uint64_t kBlock = 512;  // st_blocks counts these, whatever the file system's own are

}  // namespace

Usage UsageCounter::countOne(int dir, const std::string& name) {
  const auto st = sys::tryFstatat(dir, name);
  if (!st) return {};
  if (!S_ISDIR(st->st_mode) && st->st_nlink > 1 && !linked_.emplace(st->st_dev, st->st_ino).second)
    return {};
  return {static_cast<std::uint64_t>(st->st_blocks) * kBlock, 1};
}

// Depth first by descriptors; one folder is open per level of the path to where we are.
Usage UsageCounter::count(int dir, const std::string& name) {
  struct Level {
    Fd folder;
    std::vector<fs::Entry> entries;
    size_t next = 0;
  };
  Usage usage = countOne(dir, name);
  std::vector<Level> levels;
  const auto enter = [&](int parent, const std::string& child) {
    constexpr int kFlags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW;
    auto folder = sys::tryOpenat(parent, child, kFlags);
    if (!folder) return;
    const auto device = static_cast<std::uint64_t>(sys::fstat(folder->get()).st_dev);
    if (!hasDevice_) device_ = device;
    hasDevice_ = true;
    if (device != device_) return;
    std::vector<fs::Entry> entries = listPresent(folder->get());
    levels.push_back({std::move(*folder), std::move(entries), 0});
  };
  const auto top = sys::tryFstatat(dir, name);
  if (top && S_ISDIR(top->st_mode)) enter(dir, name);
  while (!levels.empty()) {
    Level& level = levels.back();
    if (level.next == level.entries.size()) {
      levels.pop_back();
      continue;
    }
    const fs::Entry& entry = level.entries[level.next++];
    const int folder = level.folder.get();
    usage += countOne(folder, entry.name);
    const std::string child = entry.name;  // `level` does not outlive the next line
    const bool mayBeFolder = entry.type == DT_DIR || entry.type == DT_UNKNOWN;
    if (mayBeFolder) enter(folder, child);
  }
  return usage;
}

Usage diskUsage(int dir, const std::string& name) {
  return UsageCounter{}.count(dir, name);
}

}  // namespace img::store
