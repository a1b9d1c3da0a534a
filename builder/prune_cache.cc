#include "builder/prune_cache.h"

#include <algorithm>
#include <array>
#include <ctime>

#include "base/fs.h"
#include "base/lock.h"
#include "base/log.h"
#include "base/sys.h"
#include "builder/inputs.h"
#include "store/eviction.h"
#include "store/gc.h"
#include "store/usage.h"

namespace img::builder {
namespace {

// Nothing but time is lost with these. cache/evicted stays: it explains the next build's misses.
constexpr std::array kRemembered = {"inputs", "last", "stat", "places", "compressed", "forms"};
// Each entry with a lock KEY.lock beside it, which stays: somebody may be waiting for it.
constexpr std::array kDownloads = {"http", "git"};

class Pruning {
 public:
  Pruning(const store::Layout& layout, const CachePrune& prune) : layout_(layout), prune_(prune) {}

  PrunedCache run() {
    if (prune_.all) {
      for (const char* name : kRemembered) removeAll(name);
      for (const char* name : kDownloads) removeDownloads(name);
      removeMounts();
      removeLogs();
    }
    removeSteps();
    return std::move(result_);
  }

 private:
  [[nodiscard]] bool isWanted(const std::string& id) const {
    const auto& ids = prune_.ids;
    return ids.empty() || std::any_of(ids.begin(), ids.end(), [&](const std::string& wanted) {
             return id.starts_with(wanted);
           });
  }
  [[nodiscard]] bool isOldEnough(int dir, const std::string& name) const {
    if (!prune_.before) return true;
    const auto st = sys::tryFstatat(dir, name);
    return st && st->st_mtim.tv_sec < *prune_.before;
  }

  // A file that somebody is writing, to be renamed in a moment; an old one is a dead writer's.
  static bool isBeingWritten(int dir, const std::string& name) {
    constexpr std::int64_t kLongest = 60LL * 60;
    if (name.find(".tmp-") == std::string::npos) return false;
    const auto st = sys::tryFstatat(dir, name);
    return st && st->st_mtim.tv_sec > ::time(nullptr) - kLongest;
  }

  // Gone at once for everybody; the files follow.
  void removeEntry(int dir, const std::string& name) {
    result_.bytes += store::diskUsage(dir, name).bytes;
    if (prune_.isDryRun) return;
    const store::IngestDir grave{layout_};
    try {
      sys::renameat(dir, name, grave.fd(), "gone");
    } catch (const Error& error) {
      if (error.errnum() != ENOENT) throw;
    }
  }

  void removeAll(const std::string& folder) {
    const auto dir = sys::tryOpenat(layout_.fd(), "cache/" + folder, O_RDONLY | O_DIRECTORY);
    if (!dir || !prune_.ids.empty()) return;
    size_t count = 0;
    for (const fs::Entry& entry : fs::list(dir->get())) {
      if (!isOldEnough(dir->get(), entry.name) || isBeingWritten(dir->get(), entry.name)) continue;
      result_.bytes += store::UsageCounter{}.countOne(dir->get(), entry.name).bytes;
      if (!prune_.isDryRun) sys::tryUnlinkat(dir->get(), entry.name, 0);
      ++count;
    }
    if (count > 0) result_.removed.push_back(folder);
  }

  void removeDownloads(const std::string& folder) {
    const auto dir = sys::tryOpenat(layout_.fd(), "cache/" + folder, O_RDONLY | O_DIRECTORY);
    if (!dir) return;
    for (const fs::Entry& entry : fs::list(dir->get())) {
      if (entry.name.ends_with(".lock") || isBeingWritten(dir->get(), entry.name)) continue;
      if (!isWanted(entry.name) || !isOldEnough(dir->get(), entry.name)) continue;
      const std::string key = entry.name.substr(0, entry.name.find('.'));
      if (!FileLock::tryAcquire(dir->get(), key + ".lock", FileLock::Mode::exclusive)) continue;
      removeEntry(dir->get(), entry.name);
      result_.removed.push_back(folder + " " + entry.name);
    }
  }

  void removeMounts() {
    const auto mounts = sys::tryOpenat(layout_.fd(), "cache/mounts", O_RDONLY | O_DIRECTORY);
    if (!mounts) return;
    for (const fs::Entry& identity : fs::list(mounts->get())) {
      const auto dir = sys::tryOpenat(mounts->get(), identity.name, O_RDONLY | O_DIRECTORY);
      if (!dir || !isWanted(identity.name)) continue;
      for (const fs::Entry& entry : fs::list(dir->get())) {
        if (entry.name.ends_with(".lock") || !isOldEnough(dir->get(), entry.name)) continue;
        const auto lock =
            FileLock::tryAcquire(dir->get(), entry.name + ".lock", FileLock::Mode::exclusive);
        if (!lock) continue;  // a step works with it
        removeEntry(dir->get(), entry.name);
        result_.removed.push_back("mount " + identity.name + "/" + entry.name);
      }
    }
  }

  void removeLogs() {
    const auto builds = sys::tryOpenat(layout_.fd(), "builds", O_RDONLY | O_DIRECTORY);
    if (!builds) return;
    for (const fs::Entry& entry : fs::list(builds->get())) {
      if (!isWanted(entry.name) || !isOldEnough(builds->get(), entry.name)) continue;
      const auto log = sys::tryOpenat(builds->get(), entry.name, O_RDONLY | O_DIRECTORY);
      if (!log || !sys::tryFlock(log->get(), true)) continue;  // a build under way
      removeEntry(builds->get(), entry.name);
      result_.removed.push_back("log " + entry.name);
    }
  }

  void removeSteps() {
    std::vector<store::CachedStep> steps =
        store::listCachedSteps(layout_, [&](const store::CachedStep& step) {
          return isWanted(step.key) && (!prune_.before || step.lastUse < *prune_.before);
        });
    if (!prune_.all) std::erase_if(steps, [](const auto& step) { return !step.keepsOnly; });
    dropKept(steps);
    for (const store::CachedStep& step : steps) result_.removed.push_back(step.key);
    if (prune_.isDryRun) {
      for (const store::CachedStep& step : steps) result_.bytes += step.size.bytes;
      return;
    }
    for (const store::CachedStep& step : steps) {
      if (const auto key = Digest::tryParseHex(step.key))
        noteEviction(layout_, *key, "builder prune");
    }
    store::removeCachedSteps(layout_, steps);
    dropTemporary();
    store::Collector collector{layout_};
    collector.measure();
    result_.bytes += collector.collect().bytes;
  }

  // What killed builds were writing.
  void dropTemporary() const {
    const Fd folder = sys::openDirectory(layout_.fd(), "cache/steps");
    for (const fs::Entry& entry : fs::list(folder.get())) {
      const bool isTemporary = entry.name.find(".tmp-") != std::string::npos;
      if (isTemporary && !isBeingWritten(folder.get(), entry.name))
        sys::tryUnlinkat(folder.get(), entry.name, 0);
    }
  }

  // The newest ones stay as long as they fit.
  void dropKept(std::vector<store::CachedStep>& steps) const {
    if (!prune_.keepBytes) return;
    std::uint64_t kept = 0;
    while (!steps.empty()) {
      kept += steps.back().size.bytes;
      if (kept > *prune_.keepBytes) return;
      steps.pop_back();
    }
  }

  const store::Layout& layout_;
  const CachePrune& prune_;
  PrunedCache result_;
};

}  // namespace

PrunedCache pruneCache(const store::Layout& layout, const CachePrune& prune) {
  return Pruning{layout, prune}.run();
}

}  // namespace img::builder
