#include "store/gc.h"

#include <algorithm>
#include <ctime>
#include <functional>
#include <tuple>
#include <unordered_map>
#include <utility>

#include "base/log.h"
#include "base/sys.h"
#include "store/blobs.h"
#include "store/cache_records.h"
#include "store/compressed_forms.h"
#include "store/failpoint.h"
#include "store/lease.h"
#include "store/share_work.h"
#include "store/usage.h"

namespace img::store {
namespace {

constexpr long long kRecordLifetime = 30LL * 24 * 60 * 60;
constexpr size_t kTurn = 128;  // objects between two looks at the clock
// Unlinking a file of a few blocks takes about as long as renaming it.
constexpr off_t kUnlinkedAtOnce = off_t{64} << 10;
constexpr std::uint64_t kStatBlock = 512;

// A folder of trash/ that is locked, so that recover() of others leaves it alone.
class Grave {
 public:
  explicit Grave(const Layout& layout) : root_(layout.fd()) {
    for (;;) {
      path_ = "trash/" + fs::randomHex(16);
      sys::mkdirat(root_, path_, 0700);
      auto dir = sys::tryOpenat(root_, path_, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
      if (!dir || !sys::tryFlock(dir->get(), true) || sys::fstat(dir->get()).st_nlink == 0)
        continue;
      dir_ = std::move(*dir);
      return;
    }
  }
  [[nodiscard]] int fd() const { return dir_.get(); }
  [[nodiscard]] const std::string& path() const { return path_; }

 private:
  int root_;
  std::string path_;
  Fd dir_;
};

bool tryRename(int from, const std::string& name, int to, const std::string& newName) {
  try {
    sys::renameat(from, name, to, newName);
    return true;
  } catch (const Error& error) {
    if (error.errnum() == ENOENT) return false;  // a damaged one that somebody has replaced
    throw;
  }
}

}  // namespace

std::string DeadObject::path() const {
  return (kind == Kind::view ? "layers/" : "blobs/sha256/") + digest.hex();
}

void Collector::ignore(std::set<Digest> manifests, std::set<std::string> steps) {
  ignoredManifests_ = std::move(manifests);
  ignoredSteps_ = std::move(steps);
}

void Collector::markDocument(const Digest& digest) {
  std::vector<Digest> todo{digest};
  while (!todo.empty()) {
    const Digest current = todo.back();
    todo.pop_back();
    if (!marks_.blobs.insert(current).second) continue;
    const Targets* targets = documents_.find(current);
    if (targets == nullptr) {
      marks_.missing.push_back(current);
      continue;
    }
    marks_.blobs.insert(targets->layers.begin(), targets->layers.end());
    marks_.layers.insert(targets->diffIds.begin(), targets->diffIds.end());
    todo.insert(todo.end(), targets->documents.begin(), targets->documents.end());
  }
}

// What a lease names may be anything; what is not there yet may be a document when it comes.
void Collector::markLoose(const Digest& digest) {
  marks_.layers.insert(digest);
  if (documents_.tryFind(digest) != nullptr) return markDocument(digest);
  const bool isNew = marks_.blobs.insert(digest).second;
  if (isNew && !sys::tryFstatat(layout_.blobs(), digest.hex())) marks_.expected.push_back(digest);
}

// Adds what is a root now to what was one before: too much is kept at worst, until the next
// survey. Leases first: whoever ends one has made a name, a record or a container of what it kept.
void Collector::markAll() {
  for (const Digest& digest : readLeases(layout_)) markLoose(digest);
  roots_.refresh();
  // Its owner may have made it, named it and ended since.
  for (const Digest& digest : std::exchange(marks_.expected, {})) {
    marks_.blobs.erase(digest);
    markLoose(digest);
  }
  for (const Digest& digest : std::exchange(marks_.missing, {})) {
    marks_.blobs.erase(digest);
    markDocument(digest);
  }
  std::vector<Digest> manifests;
  for (const Digest& manifest : roots_.manifests()) {
    // Ten thousand of them are looked at under the lock, hardly any of which is new.
    if (marks_.blobs.contains(manifest) || ignoredManifests_.contains(manifest)) continue;
    manifests.push_back(manifest);
  }
  documents_.prefetchTrees(manifests);
  for (const Digest& manifest : manifests) markDocument(manifest);
  for (const auto& [id, diffIds] : roots_.containers()) {
    marks_.layers.insert(diffIds.begin(), diffIds.end());
    // A layer stored uncompressed has its diff ID as digest.
    marks_.blobs.insert(diffIds.begin(), diffIds.end());
  }
  for (const auto& [key, step] : roots_.steps()) {
    if (ignoredSteps_.contains(key)) continue;
    if (step.blob) marks_.blobs.insert(*step.blob);
    if (step.diffId) marks_.layers.insert(*step.diffId);
  }
  // Another form of a layer lives as long as the layer.
  for (const auto& [diffId, blob] : compressedForms(layout_)) {
    if (marks_.layers.contains(diffId) || marks_.blobs.contains(diffId)) marks_.blobs.insert(blob);
  }
}

bool Collector::isAlive(const DeadObject& object) const {
  if (object.kind == DeadObject::Kind::view) return marks_.layers.contains(object.digest);
  if (marks_.blobs.contains(object.digest)) return true;
  if (!marks_.layers.contains(object.digest)) return false;
  // The blob of a live layer's diff ID may be what its view reads: an index without a tar of its
  // own.
  const std::string view = object.digest.hex();
  return sys::tryFstatat(layout_.layers(), view + "/index") &&
         !sys::tryFstatat(layout_.layers(), view + "/tar");
}

void Collector::addDead(int folder, DeadObject::Kind kind) {
  for (const fs::Entry& entry : fs::list(folder)) {
    const auto digest = Digest::tryParseHex(entry.name);
    if (!digest) continue;
    DeadObject object{kind, *digest, 0};
    if (!isAlive(object)) dead_.push_back(object);
  }
}

// So that it is known which of them are documents. What a manifest names as its config refers to
// nothing; only who asks which layers went has to read that.
void Collector::readDead() {
  DigestSet leaves;
  std::vector<Digest> blobs;
  for (const DeadObject& object : dead_) {
    if (object.kind == DeadObject::Kind::view) continue;
    blobs.push_back(object.digest);
    const Targets* targets = documents_.known(object.digest);
    if (targets == nullptr) continue;
    if (measures_ && targets->config) leaves.insert(*targets->config);
  }
  std::erase_if(blobs, [&](const Digest& digest) { return leaves.contains(digest); });
  documents_.prefetch(blobs);
}

// What refers before what it refers to; views last.
void Collector::rankDead() {
  readDead();
  std::unordered_map<Digest, DeadObject*> blobs;
  for (DeadObject& object : dead_) {
    if (object.kind == DeadObject::Kind::view) continue;
    if (documents_.known(object.digest) != nullptr) object.kind = DeadObject::Kind::document;
    blobs.emplace(object.digest, &object);
  }
  // A document holds digests of what it refers to, so there is no circle.
  const std::function<void(const Digest&, int)> raise = [&](const Digest& digest, int rank) {
    const auto found = blobs.find(digest);
    if (found == blobs.end() || found->second->rank >= rank) return;
    found->second->rank = rank;
    const Targets* targets = documents_.known(digest);
    if (targets == nullptr) return;
    for (const Digest& document : targets->documents) raise(document, rank + 1);
    for (const Digest& layer : targets->layers) raise(layer, rank + 1);
  };
  for (const DeadObject& object : dead_) {
    if (object.kind == DeadObject::Kind::document && object.rank == 0) raise(object.digest, 1);
  }
  std::sort(dead_.begin(), dead_.end(), [](const DeadObject& a, const DeadObject& b) {
    const bool isViewA = a.kind == DeadObject::Kind::view;
    const bool isViewB = b.kind == DeadObject::Kind::view;
    return std::tie(isViewA, a.rank, a.digest) < std::tie(isViewB, b.rank, b.digest);
  });
}

void Collector::survey() {
  marks_ = {};
  dead_.clear();
  next_ = 0;
  markAll();
  addDead(layout_.blobs(), DeadObject::Kind::blob);
  addDead(layout_.layers(), DeadObject::Kind::view);
  rankDead();
}

Collector::Burial Collector::buryOne(const DeadObject& object, int grave) const {
  Burial burial;
  if (isAlive(object)) return burial;
  const std::string name = object.digest.hex();
  if (object.kind == DeadObject::Kind::view) {
    burial.isDone = burial.isInTrash = tryRename(layout_.layers(), name, grave, "layer-" + name);
  } else {
    const auto st = sys::tryFstatat(layout_.blobs(), name);
    if (!st) return burial;
    if (S_ISREG(st->st_mode) && st->st_size <= kUnlinkedAtOnce) {
      burial.isDone = sys::tryUnlinkat(layout_.blobs(), name, 0);
    } else {
      burial.isDone = burial.isInTrash = tryRename(layout_.blobs(), name, grave, "blob-" + name);
    }
    burial.bytes = static_cast<std::uint64_t>(st->st_size);
    burial.diskBytes = static_cast<std::uint64_t>(st->st_blocks) * kStatBlock;
  }
  if (burial.isDone) failpoint("gc.buried");
  return burial;
}

// The next ones, all of one rank: among them there is no order.
void Collector::buryTurn(size_t count, int grave) {
  std::vector<Burial> burials(count);
  shareWork(count, [&](size_t i) { burials[i] = buryOne(dead_[next_ + i], grave); });
  for (size_t i = 0; i < count; ++i) {
    const Burial& burial = burials[i];
    if (!burial.isDone) continue;
    buried_.push_back(dead_[next_ + i]);
    blobBytes_ += burial.bytes;
    if (burial.isInTrash) {
      hasTrash_ = true;
    } else {
      unlinkedBytes_ += burial.diskBytes;
    }
  }
  next_ += count;
}

// As much as there is time for under the lock. False: nothing is left to bury.
bool Collector::burySome(int grave) {
  failpoint("gc.beforeLock");
  const FileLock lock = FileLock::acquire(layout_.fd(), "locks/gc", FileLock::Mode::exclusive);
  const std::int64_t end = sys::monotonicMs() + kMaxSectionMs;
  markAll();
  while (next_ < dead_.size()) {
    const DeadObject& first = dead_[next_];
    const bool isView = first.kind == DeadObject::Kind::view;
    size_t count = 1;
    for (; count < kTurn && next_ + count < dead_.size(); ++count) {
      const DeadObject& object = dead_[next_ + count];
      if (object.rank != first.rank || (object.kind == DeadObject::Kind::view) != isView) break;
    }
    buryTurn(count, grave);
    if (sys::monotonicMs() >= end) return next_ < dead_.size();
  }
  return false;
}

// The diff IDs of the layers that went, views or blobs, as far as their manifests and configs tell.
void Collector::countFreed(Images::Freed& freed) const {
  DigestSet blobs;
  std::set<Digest> diffIds;
  for (const DeadObject& object : buried_) {
    if (object.kind == DeadObject::Kind::view) {
      diffIds.insert(object.digest);
    } else {
      blobs.insert(object.digest);
    }
  }
  for (const DeadObject& object : buried_) {
    const Targets* manifest =
        object.kind == DeadObject::Kind::document ? documents_.known(object.digest) : nullptr;
    if (manifest == nullptr || manifest->documents.empty()) continue;
    for (const Digest& digest : manifest->documents) {
      const Targets* config = documents_.known(digest);
      if (config == nullptr || config->diffIds.size() != manifest->layers.size()) continue;
      for (size_t i = 0; i < manifest->layers.size(); ++i) {
        if (blobs.contains(manifest->layers[i])) diffIds.insert(config->diffIds[i]);
      }
    }
  }
  freed.layers.assign(diffIds.begin(), diffIds.end());
}

Images::Freed Collector::bury() {
  Images::Freed freed;
  buried_.clear();
  blobBytes_ = unlinkedBytes_ = 0;
  hasTrash_ = false;
  if (dead_.empty()) return freed;
  const Grave grave{layout_};
  try {
    while (burySome(grave.fd())) {
    }
  } catch (...) {
    fs::removeTree(layout_.fd(), grave.path());
    throw;
  }
  // From here on nobody can find the dead any more; unlinking them may take its time.
  if (!measures_) countFreed(freed);
  freed.bytes = measures_ ? unlinkedBytes_ : blobBytes_;
  if (measures_ && hasTrash_) freed.bytes += diskUsage(layout_.fd(), grave.path()).bytes;
  failpoint("gc.beforeUnlink");
  fs::removeTree(layout_.fd(), grave.path());
  return freed;
}

Images::Freed Collector::collect() {
  const FileLock turn = FileLock::acquire(layout_.fd(), "locks/collect", FileLock::Mode::exclusive);
  survey();
  Images::Freed freed = bury();
  sweepCacheRecords(layout_, ::time(nullptr) - kRecordLifetime);
  sweepCompressed(layout_);
  return freed;
}

Images::Freed collectGarbage(const Layout& layout) {
  Collector collector{layout};
  return collectGarbage(collector);
}

Images::Freed collectGarbage(Collector& collector) try {
  return collector.collect();
} catch (const Error& error) {
  if (error.kind() != Kind::corrupt) throw;
  log::warn("nothing was freed, as it is not known what is needed: {} (img verify tells more)",
            error.cause());
  return {};
}

}  // namespace img::store
