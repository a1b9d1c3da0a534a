#include "store/eviction.h"

#include <sys/statfs.h>

#include <algorithm>
#include <ctime>
#include <map>
#include <set>
#include <utility>

#include "base/log.h"
#include "base/sys.h"
#include "store/gc.h"
#include "store/references.h"

namespace img::store {
namespace {

// Ten minutes, and the five to which the times are exact (StepCache).
constexpr std::int64_t kRecentSeconds = 15LL * 60;

// Paths of the objects that a record keeps.
std::vector<std::string> objectsOf(const StepRecord& step) {
  std::vector<std::string> paths;
  if (step.blob) paths.push_back("blobs/sha256/" + step.blob->hex());
  if (step.diffId) paths.push_back("layers/" + step.diffId->hex());
  return paths;
}

// Absent: nothing is missing.
struct Missing {
  std::uint64_t bytes = 0, inodes = 0;
  [[nodiscard]] bool isNothing() const { return bytes == 0 && inodes == 0; }
};

std::uint64_t lack(std::uint64_t wanted, std::uint64_t present) {
  return wanted > present ? wanted - present : 0;
}

Missing missingOf(const Layout& layout, const SpaceLimits& limits) {
  const struct statfs info = sys::fstatfs(layout.fd(), layout.root());
  const auto block = static_cast<std::uint64_t>(info.f_bsize);
  const std::uint64_t total = std::uint64_t{info.f_blocks} * block;
  std::uint64_t reserve = total / 100 * static_cast<std::uint64_t>(limits.reservePercent);
  if (limits.reserveBytes)
    reserve =
        limits.reservePercent > 0 ? std::min(reserve, *limits.reserveBytes) : *limits.reserveBytes;
  Missing missing;
  missing.bytes = lack(reserve, std::uint64_t{info.f_bavail} * block);
  // File systems that make inodes as they need them tell none.
  const std::uint64_t inodes =
      std::uint64_t{info.f_files} / 100 * static_cast<std::uint64_t>(limits.reservePercent);
  if (info.f_files > 0) missing.inodes = lack(inodes, info.f_ffree);
  return missing;
}

}  // namespace

std::vector<CachedStep> listCachedSteps(const Layout& layout,
                                        const std::function<bool(const CachedStep&)>& isCandidate) {
  Roots roots{layout};
  roots.refresh();
  std::vector<CachedStep> steps;
  std::set<std::string> keys;
  for (const auto& [key, record] : roots.steps()) {
    CachedStep step{key, record.instruction, record.created, record.lastUse, {}, false};
    if (!isCandidate(step)) continue;
    keys.insert(key);
    steps.push_back(std::move(step));
  }
  std::sort(steps.begin(), steps.end(), [](const CachedStep& a, const CachedStep& b) {
    return std::tie(a.lastUse, a.key) < std::tie(b.lastUse, b.key);
  });
  Collector collector{layout};
  collector.ignore({}, keys);
  collector.survey();
  std::map<std::string, int> keepers;  // of what goes with the last record that keeps it
  for (const DeadObject& object : collector.dead()) keepers.emplace(object.path(), 0);
  const auto eachOf = [&](const CachedStep& step, auto&& visit) {
    for (const std::string& path : objectsOf(roots.steps().at(step.key))) {
      const auto found = keepers.find(path);
      if (found != keepers.end()) visit(*found);
    }
  };
  for (const CachedStep& step : steps) eachOf(step, [](auto& keeper) { ++keeper.second; });
  UsageCounter counter;
  for (CachedStep& step : steps) {
    eachOf(step, [&](auto& keeper) {
      step.keepsOnly = true;
      if (--keeper.second == 0) step.size += counter.count(layout.fd(), keeper.first);
    });
  }
  return steps;
}

void removeCachedSteps(const Layout& layout, const std::vector<CachedStep>& steps) {
  const Fd folder = sys::openDirectory(layout.fd(), "cache/steps");
  for (const CachedStep& step : steps) sys::tryUnlinkat(folder.get(), step.key, 0);
}

bool isShortOfRoom(const Layout& layout, const SpaceLimits& limits) {
  const bool hasReserve = limits.reservePercent > 0 || limits.reserveBytes;
  return hasReserve && !missingOf(layout, limits).isNothing();
}

std::uint64_t makeRoom(const Layout& layout, const SpaceLimits& limits) {
  Missing missing;
  if (isShortOfRoom(layout, limits)) missing = missingOf(layout, limits);
  if (limits.maxSize > 0) {
    const std::uint64_t size = diskUsage(layout.fd(), ".").bytes;
    missing.bytes = std::max(missing.bytes, lack(size, limits.maxSize));
  }
  if (missing.isNothing()) return 0;
  const auto turn = FileLock::tryAcquire(layout.fd(), "locks/collect", FileLock::Mode::exclusive);
  if (!turn) return 0;  // somebody is at it
  const std::int64_t before = ::time(nullptr) - kRecentSeconds;
  std::vector<CachedStep> going;
  Usage freed;
  for (CachedStep& step :
       listCachedSteps(layout, [&](const CachedStep& s) { return s.lastUse < before; })) {
    if (freed.bytes >= missing.bytes && freed.inodes >= missing.inodes) break;
    if (!step.keepsOnly) continue;  // removing it would only cost time
    freed += step.size;
    going.push_back(std::move(step));
  }
  removeCachedSteps(layout, going);
  Collector collector{layout};
  collector.measure();
  collector.survey();
  const std::uint64_t bytes = collector.bury().bytes;
  log::info("{} bytes freed: {} steps left the build cache", bytes, going.size());
  return bytes;
}

}  // namespace img::store
