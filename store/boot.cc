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
#include "base/text.h"
#include "store/blobs.h"
#include "store/images.h"
#include "store/verify_catalog.h"
#include "store/verify_internal.h"

namespace img::store {
namespace {

constexpr char kMark[] = "locks/fast";
constexpr char kLock[] = "locks/boot";
constexpr char kIndex[] = "index.json";
constexpr char kSyncedIndex[] = "locks/index.synced";

std::optional<std::string> markedBoot(const Layout& layout) {
  const auto text = fs::tryReadFile(layout.fd(), kMark, 4096);
  if (!text) return std::nullopt;
  return std::string{text::trim(*text)};  // empty when the power went before it was written
}

// sealFile() of blobs.cc.
bool isUnsynced(const struct stat& st) {
  return S_ISREG(st.st_mode) && (st.st_mode & 0200) != 0;
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
  size_t removed = 0;
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
    ++removed;
  }
  return removed;
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
  if (const auto synced = fs::tryReadFile(layout.fd(), kSyncedIndex)) {
    fs::replaceFile(layout.fd(), kIndex, *synced, 0644, fs::Sync::full);
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

void noteUnsynced(const Layout& layout) {
  if (markedBoot(layout) == bootId()) return;
  // It names the synced state for as long as nobody has to fall back on it.
  sys::tryUnlinkat(layout.fd(), kSyncedIndex, 0);
  if (sys::tryFstatat(layout.fd(), kIndex))
    sys::linkat(layout.fd(), kIndex, layout.fd(), kSyncedIndex, 0);
  // File systems keep the order of names: this one is there whenever a later one is.
  fs::replaceFile(layout.fd(), kMark, bootId(), 0644, fs::Sync::none);
}

void checkAfterBoot(const Layout& layout) {
  auto marked = markedBoot(layout);
  if (!marked || marked == bootId()) return;
  const FileLock lock = FileLock::acquire(layout.fd(), kLock, FileLock::Mode::exclusive);
  marked = markedBoot(layout);
  if (!marked || marked == bootId()) return;  // another command was first
  const size_t blobs = removeDamaged(layout);
  restoreIndex(layout);
  const size_t names = dropBrokenNames(layout);
  log::info("the machine was started again: {} damaged blobs and {} images were removed", blobs,
            names);
  sys::tryUnlinkat(layout.fd(), kMark, 0);
  sys::tryUnlinkat(layout.fd(), kSyncedIndex, 0);
}

bool settleUnsynced(const Layout& layout, const Descriptor& image) {
  if (!isDurable() || !markedBoot(layout)) return false;
  ImageRow row;
  row.descriptor = image;
  for (const auto& [digest, need] : readCatalog(layout, {row}).blobs) {
    const auto st = sys::tryFstatat(layout.blobs(), digest.hex());
    if (!st || !isUnsynced(*st)) continue;
    const Fd blob = openBlob(layout, digest);
    sys::fsync(blob.get(), digest.str());
    sys::fchmod(blob.get(), 0444);
  }
  return true;
}

}  // namespace img::store
