#include "store/boot.h"

#include <algorithm>
#include <optional>
#include <set>
#include <string>
#include <tuple>

#include "base/fs.h"
#include "base/lock.h"
#include "base/log.h"
#include "base/sys.h"
#include "store/blobs.h"
#include "store/cache_records.h"
#include "store/images.h"
#include "store/unsynced.h"
#include "store/verify_catalog.h"
#include "store/verify_internal.h"

namespace img::store {
namespace {

constexpr char kLock[] = "locks/boot";

std::optional<UnsyncedMark> markOfAnotherBoot(const Layout& layout) {
  auto mark = readUnsyncedMark(layout);
  if (mark && mark->boot == bootId()) mark.reset();
  return mark;
}

bool isWhole(const Layout& layout, const Digest& digest) {
  try {
    checkBlob(layout, digest);
    return true;
  } catch (const Error& error) {
    log::info("{}: {}", digest.str(), error.cause());
    return false;
  }
}

size_t removeDamaged(const Layout& layout) {
  std::set<Digest> removed;
  for (const fs::Entry& entry : fs::list(layout.blobs())) {
    const auto digest = Digest::tryParseHex(entry.name);
    const auto st = sys::tryFstatat(layout.blobs(), entry.name);
    if (!digest || !st || !isUnsynced(*st)) continue;
    if (isWhole(layout, *digest)) {
      // It came from the disk just now: it is there.
      sys::fchmod(openBlob(layout, *digest).get(), 0444);
      continue;
    }
    sys::tryUnlinkat(layout.blobs(), entry.name, 0);
    removed.insert(*digest);
  }
  dropRecordsOf(layout, removed);
  return removed.size();
}

bool isReadableIndex(const Layout& layout) {
  try {
    std::ignore = Images{layout}.list();
    return true;
  } catch (const Error& error) {
    log::info("{}", error.cause());
    return false;
  }
}

void restoreIndex(const Layout& layout) {
  if (isReadableIndex(layout)) return;
  if (const auto synced = syncedIndex(layout)) {
    fs::replaceFile(layout.fd(), "index.json", *synced, 0644, fs::Sync::full);
    if (isReadableIndex(layout)) return;
  }
  Images{layout}.reset(salvageImages(layout));
}

bool isComplete(const Layout& layout, const Catalog& catalog, const Catalog::Entry& entry) {
  return entry.problem.empty() &&
         std::all_of(entry.needs.begin(), entry.needs.end(), [&](const Digest& digest) {
           const BlobNeed& need = catalog.blobs.at(digest);
           const auto st = sys::tryFstatat(layout.blobs(), digest.hex());
           return need.problem.empty() && st &&
                  static_cast<std::uint64_t>(st->st_size) == need.descriptor.size;
         });
}

size_t dropBrokenNames(const Layout& layout) {
  const Catalog catalog = readCatalog(layout, Images{layout}.list());
  std::set<Digest> broken;
  for (const Catalog::Entry& entry : catalog.entries) {
    if (!isComplete(layout, catalog, entry)) broken.insert(entry.row.descriptor.digest);
  }
  if (broken.empty()) return 0;
  Images{layout}.keepOnly(
      [&](const Descriptor& descriptor) { return !broken.contains(descriptor.digest); });
  return broken.size();
}

}  // namespace

void checkAfterBoot(const Layout& layout) {
  if (!markOfAnotherBoot(layout)) return;
  const FileLock lock = FileLock::acquire(layout.fd(), kLock, FileLock::Mode::exclusive);
  const auto mark = markOfAnotherBoot(layout);
  if (!mark) return;  // another command was first
  const size_t blobs = removeDamaged(layout);
  size_t names = 0;
  // Only unsynced names can lead to a blob that was damaged.
  if (mark->what == Unsynced::names) {
    restoreIndex(layout);
    names = dropBrokenNames(layout);
  }
  log::info("the machine was started again: {} damaged blobs and {} images were removed", blobs,
            names);
  forgetUnsynced(layout);
}

}  // namespace img::store
