#include "store/cache_records.h"

#include <algorithm>
#include <functional>

#include "base/fs.h"
#include "base/sys.h"
#include "base/text.h"

namespace img::store {
namespace {

using IsDead = std::function<bool(int folder, const std::string& name)>;

void sweep(const Layout& layout, const char* path, const IsDead& isDead) {
  const auto folder = sys::tryOpenat(layout.fd(), path, O_RDONLY | O_DIRECTORY);
  if (!folder) return;
  for (const fs::Entry& entry : fs::list(folder->get())) {
    if (entry.name.find(".tmp-") != std::string::npos) continue;  // somebody is writing it
    if (isDead(folder->get(), entry.name)) sys::tryUnlinkat(folder->get(), entry.name, 0);
  }
}

}  // namespace

void sweepCacheRecords(const Layout& layout, long long before) {
  const auto isThere = [&](const char* folder, const std::string& name) {
    return sys::tryFstatat(layout.fd(), fmt::format("{}/{}", folder, name)).has_value();
  };
  // A record is written with its step's and never changed: its time is the step's.
  const IsDead isOrphan = [&](int folder, const std::string& name) {
    const auto st = sys::tryFstatat(folder, name);
    return st && st->st_mtim.tv_sec < before && !isThere("cache/steps", name);
  };
  sweep(layout, "cache/inputs", isOrphan);
  sweep(layout, "cache/evicted", isOrphan);
  sweep(layout, "cache/places", [&](int folder, const std::string& name) {
    const auto st = sys::tryFstatat(folder, name);
    return st && st->st_mtim.tv_sec < before && !isThere("blobs/sha256", name);
  });
  // Notes of --cache-to: without one a layer is compressed once more.
  sweep(layout, "cache/forms", [&](int folder, const std::string& name) {
    const auto st = sys::tryFstatat(folder, name);
    return st && st->st_mtim.tv_sec < before;
  });
  sweep(layout, "cache/last", [&](int folder, const std::string& name) {
    const std::vector<std::string> keys =
        text::split(fs::tryReadFile(folder, name).value_or(""), '\n');
    return std::none_of(keys.begin(), keys.end(), [&](const std::string& key) {
      return !key.empty() && isThere("cache/inputs", key);
    });
  });
}

void dropRecordsOf(const Layout& layout, const std::set<Digest>& blobs) {
  if (blobs.empty()) return;
  sweep(layout, "cache/steps", [&](int folder, const std::string& name) {
    const std::string record = fs::tryReadFile(folder, name).value_or("");
    return std::any_of(blobs.begin(), blobs.end(), [&](const Digest& blob) {
      return record.find(blob.str()) != std::string::npos;
    });
  });
}

}  // namespace img::store
