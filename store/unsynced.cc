#include "store/unsynced.h"

#include <fcntl.h>
#include <sys/file.h>

#include <algorithm>
#include <atomic>
#include <map>
#include <mutex>
#include <set>
#include <thread>
#include <utility>

#include "base/fs.h"
#include "base/lock.h"
#include "base/log.h"
#include "base/sys.h"
#include "base/text.h"
#include "store/blobs.h"
#include "store/cache_records.h"
#include "store/failpoint.h"
#include "store/images.h"
#include "store/verify_catalog.h"

namespace img::store {
namespace {

constexpr char kMark[] = "locks/fast";
constexpr char kLock[] = "locks/unsynced";
constexpr char kIndex[] = "index.json";
constexpr char kSyncedIndex[] = "locks/index.synced";
constexpr std::string_view kOnlyBlobs = " blobs";  // after the boot id

bool isNoted(const Layout& layout, Unsynced what) {
  const auto mark = readUnsyncedMark(layout);
  return mark && mark->boot == bootId() &&
         (what == Unsynced::blobs || mark->what == Unsynced::names);
}

// The process's blobs that wait for their sync.
class Held {
 public:
  void add(const Digest& digest, Fd file) {
    const std::lock_guard guard{mutex_};
    files_.insert_or_assign(digest, std::move(file));
  }
  // Whether it is that file which was held; stores may have blobs of the same name.
  bool has(const Digest& digest, const struct stat& st) {
    const std::lock_guard guard{mutex_};
    const auto found = files_.find(digest);
    if (found == files_.end()) return false;
    const struct stat own = sys::fstat(found->second.get());
    return own.st_dev == st.st_dev && own.st_ino == st.st_ino;
  }
  void drop(const Digest& digest) {
    const std::lock_guard guard{mutex_};
    files_.erase(digest);
  }
  std::vector<Digest> digests() {
    const std::lock_guard guard{mutex_};
    std::vector<Digest> all;
    for (const auto& [digest, file] : files_) all.push_back(digest);
    return all;
  }

 private:
  std::mutex mutex_;
  std::map<Digest, Fd> files_;  // guarded by mutex_
};

Held& held() {
  static Held all;
  return all;
}

struct WaitingBlob {
  Digest digest;
  Fd file;
  bool isNeeded = true;  // false: no image is made of it
  std::optional<Error> trouble = {};
};

Error missing(const Digest& digest) {
  return Error::make(Kind::notFound, "blob {} is not in the store", digest.str());
}

std::optional<WaitingBlob> openWaiting(const Layout& layout, const Digest& digest) {
  const auto st = sys::tryFstatat(layout.blobs(), digest.hex());
  if (!st) throw missing(digest);
  if (!isUnsynced(*st)) return std::nullopt;
  return WaitingBlob{digest, openBlob(layout, digest)};
}

// What is held but for `needs`: layers of other stages.
std::vector<WaitingBlob> openHeld(const Layout& layout, const std::set<Digest>& needs) {
  std::vector<WaitingBlob> waiting;
  for (const Digest& digest : held().digests()) {
    if (needs.contains(digest)) continue;
    const auto st = sys::tryFstatat(layout.blobs(), digest.hex());
    if (!st || !isUnsynced(*st)) continue;
    waiting.push_back({digest, openBlob(layout, digest), false});
  }
  return waiting;
}

void logTrouble(const std::vector<WaitingBlob>& blobs) {
  for (const WaitingBlob& blob : blobs) {
    if (blob.trouble && !blob.isNeeded) log::info("{}", blob.trouble->cause());
  }
}

// Without the lock, whose blob it is too could open it after the kernel has told us of a failure,
// which it tells once, and before we have removed it.
void lockBlob(const WaitingBlob& blob) {
  sys::check([&] { return ::flock(blob.file.get(), LOCK_EX); }, "lock {}", blob.digest.str());
  if (sys::fstat(blob.file.get()).st_nlink == 0) throw missing(blob.digest);
}

void syncLocked(const Layout& layout, const WaitingBlob& blob) {
  lockBlob(blob);
  const struct stat st = sys::fstat(blob.file.get());
  if (!isUnsynced(st)) return;  // somebody else has done it
  try {
    failpoint("blobs.beforeFsync");
    sys::fsync(blob.file.get(), "blob " + blob.digest.str());
    // What a disk did not take before anybody had the file open again, only its bytes tell.
    if (!held().has(blob.digest, st)) checkBlob(layout, blob.digest);
  } catch (const Error&) {
    sys::tryUnlinkat(layout.blobs(), blob.digest.hex(), 0);
    throw;
  }
  sys::fchmod(blob.file.get(), 0444);
}

// Another build syncs in another order: nobody waits for a lock who has one.
void syncOne(const Layout& layout, WaitingBlob& blob) noexcept {
  try {
    syncLocked(layout, blob);
  } catch (const Error& error) {
    blob.trouble = error;
  } catch (const std::exception& error) {
    blob.trouble = Error{Kind::internal, error.what()};
  }
  blob.file = Fd{};
}

// The disk gets all bytes before the first file is waited for, so that one commit of the journal
// has room for all of them, and two threads wait: each file has a cache of the disk to flush.
void syncTogether(const Layout& layout, std::vector<WaitingBlob>& blobs) {
  for (const WaitingBlob& blob : blobs)
    ::sync_file_range(blob.file.get(), 0, 0, SYNC_FILE_RANGE_WRITE);
  std::atomic<size_t> next{0};
  const auto work = [&]() noexcept {
    for (size_t i = next++; i < blobs.size(); i = next++) syncOne(layout, blobs[i]);
  };
  std::thread second;
  constexpr size_t kFew = 4;
  if (blobs.size() > kFew) {
    try {
      second = std::thread{work};
    } catch (const std::exception& error) {
      log::debug("syncing with one thread: {}", error.what());
    }
  }
  work();
  if (second.joinable()) second.join();
  std::set<Digest> lost;
  for (const WaitingBlob& blob : blobs) {
    held().drop(blob.digest);
    if (blob.trouble) lost.insert(blob.digest);
  }
  dropRecordsOf(layout, lost);
}

}  // namespace

std::optional<UnsyncedMark> readUnsyncedMark(const Layout& layout) {
  const auto text = fs::tryReadFile(layout.fd(), kMark, 4096);
  if (!text) return std::nullopt;
  std::string_view boot = text::trim(*text);
  if (!boot.ends_with(kOnlyBlobs)) return UnsyncedMark{std::string{boot}, Unsynced::names};
  boot.remove_suffix(kOnlyBlobs.size());
  return UnsyncedMark{std::string{boot}, Unsynced::blobs};
}

bool isUnsynced(const struct stat& blob) {
  return S_ISREG(blob.st_mode) && (blob.st_mode & 0200) != 0;
}

void noteUnsynced(const Layout& layout, Unsynced what) {
  if (isNoted(layout, what)) return;
  const FileLock lock = FileLock::acquire(layout.fd(), kLock, FileLock::Mode::exclusive);
  if (isNoted(layout, what)) return;
  std::string text = bootId();
  if (what == Unsynced::names) {
    // It names the synced state for as long as nobody has to fall back on it.
    sys::tryUnlinkat(layout.fd(), kSyncedIndex, 0);
    if (sys::tryFstatat(layout.fd(), kIndex))
      sys::linkat(layout.fd(), kIndex, layout.fd(), kSyncedIndex, 0);
  } else {
    text += kOnlyBlobs;
  }
  // Where it is not synced: file systems keep the order of names, so that this one is there
  // whenever a later one is.
  fs::replaceFile(layout.fd(), kMark, text, 0644, fullSync());
}

void forgetUnsynced(const Layout& layout) {
  sys::tryUnlinkat(layout.fd(), kMark, 0);
  sys::tryUnlinkat(layout.fd(), kSyncedIndex, 0);
}

std::optional<std::string> syncedIndex(const Layout& layout) {
  return fs::tryReadFile(layout.fd(), kSyncedIndex);
}

void holdUnsynced(const Layout& layout, const Digest& digest) try {
  if (!isDurable()) return;
  Fd file = openBlob(layout, digest);
  if (isUnsynced(sys::fstat(file.get()))) held().add(digest, std::move(file));
} catch (const Error& error) {
  log::debug("{}", error.cause());  // no descriptor left: it is read before it gets a name
}

bool holdsUnsynced() {
  return !held().digests().empty();
}

void settleUnsynced(const Layout& layout, const std::vector<Descriptor>& images) {
  if (!isDurable() || !readUnsyncedMark(layout)) return;
  std::vector<ImageRow> rows;
  for (const Descriptor& image : images) rows.push_back({std::nullopt, image});
  std::set<Digest> needs;
  for (const Catalog::Entry& entry : readCatalog(layout, rows).entries)
    needs.insert(entry.needs.begin(), entry.needs.end());
  std::vector<WaitingBlob> waiting = openHeld(layout, needs);
  for (const Digest& digest : needs) {
    if (auto blob = openWaiting(layout, digest)) waiting.push_back(std::move(*blob));
  }
  syncTogether(layout, waiting);
  logTrouble(waiting);
  for (WaitingBlob& blob : waiting) {
    if (!blob.trouble || !blob.isNeeded) continue;
    addSpaceHint(*blob.trouble, layout);
    throw blob.trouble->during("making the layers of the image durable");
  }
}

void settleHeld(const Layout& layout) noexcept try {
  std::vector<WaitingBlob> waiting = openHeld(layout, {});
  syncTogether(layout, waiting);
  logTrouble(waiting);
} catch (const std::exception& error) {
  log::info("{}", error.what());
}

}  // namespace img::store
