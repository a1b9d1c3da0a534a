#include "store/layers.h"

#include <poll.h>
#include <unistd.h>

#include <algorithm>

#include "base/interruption.h"
#include "base/log.h"
#include "base/process.h"
#include "base/sys.h"
#include "base/text.h"
#include "store/blobs.h"
#include "store/block_reader.h"
#include "store/erofs_image.h"
#include "store/erofs_mount.h"
#include "store/failpoint.h"
#include "store/free_space.h"
#include "store/layer_meta.h"
#include "store/layer_type.h"
#include "store/layer_view.h"
#include "store/lease.h"
#include "store/owner_shift.h"
#include "store/owners.h"
#include "store/side_hasher.h"
#include "store/small_layer.h"
#include "store/union_copy.h"
#include "store/unpack.h"

namespace img::store {
namespace {

using Meta = LayerMeta;

constexpr char kFolder[] = "fs", kTar[] = "tar";
constexpr const char* kIndex = Layers::kIndexName;
constexpr char kInBlob[] = "blob";

FileLock lockObject(const Layout& layout, const Digest& digest) {
  return FileLock::acquire(layout.fd(), "locks/obj-" + digest.hex().substr(0, 2),
                           FileLock::Mode::exclusive);
}

// A view with ids that this process lacks may be in use by those who have them.
void checkCanRemove(const Meta& meta) {
  const std::string present = presentIdMaps();
  if (present.empty() || meta.idMaps.empty()) return;
  if (coversIds(OwnerShift::parse(present), OwnerShift::parse(meta.idMaps))) return;
  throw Error{Kind::denied, "this store has files of user ids that are not there now"}
      .code("idmap")
      .why(fmt::format("its layers were unpacked with the id maps {}, now there are {}",
                       meta.idMaps, present))
      .hint("use another store: --root DIR");
}

// What is there is neither trusted nor used by anybody who started after the boot: out of the way,
// then deleted.
void discardView(const Layout& layout, const Digest& diffId) {
  const std::string grave = "trash/" + fs::randomHex(16);
  if (!sys::tryFstatat(layout.layers(), diffId.hex())) return;
  if (const auto meta = readLayerMeta(layout, diffId)) checkCanRemove(*meta);
  sys::renameat(layout.layers(), diffId.hex(), layout.fd(), grave);
  fs::removeTree(layout.fd(), grave);
}

// The caller holds the object's lock and has seen that no trusted view is there.
void publishView(const Layout& layout, IngestDir& folder, const Meta& meta) {
  failpoint("layers.beforeMeta");
  writeLayerMeta(folder.fd(), meta);
  discardView(layout, meta.diffId);
  failpoint("layers.beforeRename");
  sys::renameat(layout.ingest(), folder.name(), layout.layers(), meta.diffId.hex());
  folder.release();
  failpoint("layers.afterRename");
}

constexpr size_t kMagicSize = 8;

// Owns the chain of sources of one layer.
class LayerStream final : public Source {
 public:
  LayerStream(const Descriptor& blob, Source& raw) : peeked_(raw, kMagicSize) {
    checkLayerCompression(blob, peeked_.head());
    if (detectCompression(peeked_.head()) != Compression::none)
      plain_ = decompress(peeked_, blob.digest.str());
  }
  size_t read(std::span<std::byte> into) override {
    return plain_ ? plain_->read(into) : peeked_.read(into);
  }

 private:
  PeekedSource peeked_;
  std::unique_ptr<Source> plain_;
};

void drain(Source& source) {
  std::vector<std::byte> buffer(64 << 10);
  while (source.read(buffer) > 0) {
  }
}

// A second thread reads (and so decompresses), and a third hashes, while the caller works.
class HashedAhead final : public Source {
 public:
  explicit HashedAhead(Source& inner) : blocks_(inner, BlockReader::Mode::overlapped) {}
  size_t read(std::span<std::byte> into) override {
    if (unread_.empty()) {
      hasher_.wait();  // for the block that is given back
      unread_ = blocks_.next();
      hasher_.start(unread_);
    }
    const auto piece = unread_.first(std::min(into.size(), unread_.size()));
    std::copy(piece.begin(), piece.end(), into.begin());
    unread_ = unread_.subspan(piece.size());
    return piece.size();
  }

  [[nodiscard]] std::uint64_t size() const { return hasher_.size(); }
  Digest digest() { return hasher_.finish(); }

 private:
  BlockReader blocks_;
  SideHasher hasher_;  // behind the blocks that it reads
  std::span<const std::byte> unread_;
};

// Passes everything through and keeps it in a file; without one, only passes.
class Keep final : public Source {
 public:
  Keep(Source& inner, std::optional<Fd> file)
      : inner_(inner), file_(std::move(file)), space_(file_ ? file_->get() : -1, "keep a layer") {}
  size_t read(std::span<std::byte> into) override {
    const size_t count = inner_.read(into);
    if (!file_ || count == 0) return count;
    space_.use(count);
    writeAll(file_->get(), into.first(count), "the tar of a layer");
    return count;
  }

 private:
  Source& inner_;
  std::optional<Fd> file_;
  FreeSpace space_;
};

void checkDigest(HashedAhead& hashed, const Digest& diffId) {
  drain(hashed);
  const Digest actual = hashed.digest();
  if (actual == diffId) return;
  throw Error::make(Kind::corrupt, "the layer does not have the diff ID {}", diffId.str())
      .why(fmt::format("its {} uncompressed bytes have the digest {}", hashed.size(), actual.str()))
      .code("digest-mismatch");
}

UnpackStats unpackInto(const IngestDir& folder, Source& tar, const std::string& name) {
  sys::mkdirat(folder.fd(), kFolder, 0755);
  const Fd target = sys::openDirectory(folder.fd(), kFolder);
  sys::fchmod(target.get(), 0755);  // whatever the umask is: this may become the "/" of a container
  sys::futimens(target.get(), {}, {});  // nor does the clock show, unless the layer has a root
  return unpackLayer(tar, target.get(), name);
}

constexpr int kNewFile = O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW;

UnpackStats indexInto(const IngestDir& folder, Source& tar, const std::string& name) {
  return indexLayer(tar, sys::openat(folder.fd(), kIndex, kNewFile, 0644).get(), name);
}

// The finished index, and its tar when it is here, give way to a folder of the same layer.
void unpackInstead(const IngestDir& folder, Source& tar, const std::string& name) {
  unpackInto(folder, tar, name);
  sys::unlinkat(folder.fd(), kIndex, 0);
  sys::tryUnlinkat(folder.fd(), kTar, 0);
}

// `kept` has what the index was made of.
void unpackIfSmall(const IngestDir& folder, const UnpackStats& stats, Remembered& kept,
                   const std::string& name) {
  if (!isBetterUnpacked(stats)) return;
  if (auto text = kept.take()) {
    StringSource tar{std::move(*text)};
    return unpackInstead(folder, tar, name);
  }
  auto file = sys::tryOpenat(folder.fd(), kTar, O_RDONLY | O_NOFOLLOW);
  if (!file) return;
  FdSource tar{std::move(*file), name};
  unpackInstead(folder, tar, name);
}

UnpackStats unpackChecked(const IngestDir& folder, const Digest& diffId, Source& plain) {
  HashedAhead hashed{plain};
  const UnpackStats stats = unpackInto(folder, hashed, diffId.str());
  checkDigest(hashed, diffId);
  return stats;
}

UnpackStats indexChecked(const IngestDir& folder, const Digest& diffId, Source& plain,
                         bool keepTar) {
  std::optional<Fd> tar;
  if (keepTar) tar = sys::openat(folder.fd(), kTar, kNewFile, 0644);
  HashedAhead hashed{plain};
  Keep kept{hashed, std::move(tar)};
  Remembered remembered{kept};
  const UnpackStats stats = indexInto(folder, remembered, diffId.str());
  drain(remembered);
  checkDigest(hashed, diffId);
  unpackIfSmall(folder, stats, remembered, diffId.str());
  return stats;
}

UnpackStats fillChecked(const IngestDir& folder, const Digest& diffId, Source& plain,
                        LayerView view, bool keepTar) {
  return view == LayerView::erofs ? indexChecked(folder, diffId, plain, keepTar)
                                  : unpackChecked(folder, diffId, plain);
}

// The same of a file that is right as it is.
UnpackStats fillFromFile(const IngestDir& folder, int tar, const std::string& name,
                         LayerView view) {
  if (view == LayerView::erofs) {
    const Fd index = sys::openat(folder.fd(), kIndex, kNewFile, 0644);
    const UnpackStats stats = indexLayerFile(tar, index.get(), name);
    if (!isBetterUnpacked(stats)) return stats;
  }
  Fd again = sys::openat(AT_FDCWD, sys::procPath(tar), O_RDONLY);
  FdSource plain{std::move(again), name};
  const UnpackStats stats = unpackInto(folder, plain, name);
  sys::tryUnlinkat(folder.fd(), kIndex, 0);
  return stats;
}

// An index has limits that a folder has not; only who has asked for one hears of them.
bool canUnpackInstead(const LayerViewChoice& choice, const Error& error) {
  if (choice.isForced || choice.view != LayerView::erofs || error.kind() != Kind::unsupported)
    return false;
  log::info("{}: it is unpacked instead", error.cause());
  return true;
}

// Relative to layout.fd().
std::string archivePath(const Layout& layout, const Meta& meta) {
  if (meta.archive == kInBlob) return layout.blobPath(meta.diffId);
  return layout.layerPath(meta.diffId) + '/' + kTar;
}

// The meta of a view that was made for a process like this one.
std::optional<Meta> findMeta(const Layout& layout, const Digest& diffId) {
  auto meta = readLayerMeta(layout, diffId);
  if (!meta || meta->bootId != bootId() || meta->hasUserMarks != usesUserMarks())
    return std::nullopt;
  if (meta->idMaps != presentIdMaps()) return std::nullopt;
  if (!meta->archive.empty() && !usesErofsViews()) return std::nullopt;
  return meta;
}

// The meta of a view that can be used by this process.
std::optional<Meta> findView(const Layout& layout, const Digest& diffId) {
  auto meta = findMeta(layout, diffId);
  if (!meta) return std::nullopt;
  const std::string folder = layout.layerPath(diffId) + '/';
  if (meta->archive.empty()) {
    if (!sys::tryFstatat(layout.fd(), folder + kFolder)) return std::nullopt;
    return meta;
  }
  // The blob may have gone with an image, while another one has the layer in a compressed blob.
  if (!sys::tryFstatat(layout.fd(), folder + kIndex) ||
      !sys::tryFstatat(layout.fd(), archivePath(layout, *meta)))
    return std::nullopt;
  return meta;
}

std::optional<Fd> tryMountIndex(const Layout& layout, const Meta& meta) try {
  const auto index = sys::tryOpenat(layout.layers(), meta.diffId.hex() + '/' + kIndex, O_RDONLY);
  const auto archive = sys::tryOpenat(layout.fd(), archivePath(layout, meta), O_RDONLY);
  if (!index || !archive) return std::nullopt;
  return mountErofs(index->get(), archive->get());
} catch (Error& error) {
  error.during("mounting layer {}", meta.diffId.str());
  throw error.hint("IMG_LAYER_VIEW=directory unpacks layers instead");
}

// For reading where that is allowed: a union asks each layer for attributes.
std::optional<Fd> tryOpenFolder(const Layout& layout, const Digest& diffId) {
  const std::string path = diffId.hex() + '/' + kFolder;
  constexpr int kFlags = O_DIRECTORY | O_NOFOLLOW;
  try {
    return sys::tryOpenat(layout.layers(), path, kFlags | O_RDONLY);
  } catch (const Error& error) {
    if (error.errnum() != EACCES) throw;
  }
  return sys::tryOpenat(layout.layers(), path, kFlags | O_PATH);
}

}  // namespace

void checkLayerCompression(const Descriptor& blob, std::string_view head) {
  const Compression promised = promisedCompression(blob);
  const Compression actual = detectCompression(head);
  if (actual == promised) return;
  throw Error::make(Kind::corrupt, "layer {} is compressed with {}, its media type says {}",
                    blob.digest.str(), compressionName(actual), compressionName(promised));
}

std::unique_ptr<Source> openLayerStream(const Descriptor& blob, Source& raw) {
  return std::make_unique<LayerStream>(blob, raw);
}

bool Layers::has(const Digest& diffId) const {
  return findView(layout_, diffId).has_value();
}

std::optional<OpenedLayer> Layers::tryOpen(const Digest& diffId) const {
  const auto meta = findMeta(layout_, diffId);
  if (!meta) return std::nullopt;
  const bool isMount = !meta->archive.empty();
  auto fd = isMount ? tryMountIndex(layout_, *meta) : tryOpenFolder(layout_, diffId);
  if (!fd) return std::nullopt;
  return OpenedLayer{std::move(*fd), isMount};
}

Fd Layers::open(const Digest& diffId) const {
  if (auto layer = tryOpen(diffId)) return std::move(layer->folder);
  throw Error::make(Kind::notFound, "layer {} is not unpacked", diffId.str());
}

std::string Layers::pathOf(const Digest& diffId) const {
  const auto meta = readLayerMeta(layout_, diffId);
  const bool isFolder = !meta || meta->archive.empty();
  return layout_.layerPath(diffId) + '/' + (isFolder ? kFolder : kIndex);
}

bool Layers::makeFrom(const Digest& diffId, Source& plain, Archive archive) const {
  if (has(diffId)) return false;
  // Where the bytes come from may be slow: no lock is held meanwhile (reliability.md 4). Of two who
  // make it at the same time, the second drops his.
  IngestDir folder{layout_};
  const LayerViewChoice choice = chooseLayerView(layout_);
  UnpackStats stats;
  try {
    stats = fillChecked(folder, diffId, plain, choice.view, archive == Archive::view);
  } catch (const Error& error) {
    if (!canUnpackInstead(choice, error)) throw;
    drain(plain);
    return true;
  }
  const FileLock lock = lockObject(layout_, diffId);
  if (!has(diffId)) publishFilled(folder, diffId, stats, archive);
  return true;
}

void Layers::makeFromBlob(const Digest& diffId, const Descriptor& blob, LayerView view) const {
  FdSource raw{openBlob(layout_, blob.digest), blob.digest.str()};
  const std::unique_ptr<Source> plain = openLayerStream(blob, raw);
  const Archive archive = blob.digest == diffId ? Archive::blob : Archive::view;
  IngestDir folder{layout_};
  const UnpackStats stats = fillChecked(folder, diffId, *plain, view, archive == Archive::view);
  publishFilled(folder, diffId, stats, archive);
}

void Layers::makeFromVerified(const Digest& diffId, LayerView view) const {
  const Fd tar = openBlob(layout_, diffId);
  IngestDir folder{layout_};
  const UnpackStats stats = fillFromFile(folder, tar.get(), diffId.str(), view);
  publishFilled(folder, diffId, stats, Archive::blob);
}

void Layers::publishFilled(IngestDir& folder, const Digest& diffId, const UnpackStats& stats,
                           Archive archive) const {
  Meta meta{diffId, stats.entries, stats.bytes, bootId()};
  if (sys::tryFstatat(folder.fd(), kIndex))
    meta.archive = archive == Archive::blob ? kInBlob : kTar;
  publishView(layout_, folder, meta);
}

void Layers::ensureBy(const Digest& diffId, const Digest& blob, const MakeView& make) const try {
  if (has(diffId)) return;
  const FileLock lock = lockObject(layout_, diffId);
  if (has(diffId)) return;  // somebody else did it meanwhile
  const LayerViewChoice choice = chooseLayerView(layout_);
  try {
    make(choice.view);
  } catch (const Error& error) {
    if (!canUnpackInstead(choice, error)) throw;
    make(LayerView::directory);
  }
} catch (Error& error) {
  // Whatever unpacking has stumbled over: when the blob is not what its name says, that is why.
  const bool isAboutBytes = error.kind() == Kind::corrupt || error.kind() == Kind::failed;
  if (isAboutBytes && error.code() != "no-space") checkBlob(layout_, blob);
  addSpaceHint(error, layout_);
  error.during("unpacking layer {}", diffId.str());
  throw;
}

void Layers::ensure(const Digest& diffId, const Descriptor& blob) const {
  ensureBy(diffId, blob.digest, [&](LayerView view) { makeFromBlob(diffId, blob, view); });
}

void Layers::ensureFromVerified(const Digest& diffId) const {
  ensureBy(diffId, diffId, [&](LayerView view) { makeFromVerified(diffId, view); });
}

void Layers::ensureAll(const std::vector<Digest>& diffIds,
                       const std::vector<Descriptor>& blobs) const {
  std::vector<std::function<void()>> tasks;
  for (size_t i = 0; i < diffIds.size() && i < blobs.size(); ++i) {
    const bool isRepeated =
        std::find(diffIds.begin(), diffIds.begin() + static_cast<std::ptrdiff_t>(i), diffIds[i]) !=
        diffIds.begin() + static_cast<std::ptrdiff_t>(i);
    if (isRepeated || has(diffIds[i])) continue;
    tasks.emplace_back([this, diffId = diffIds[i], blob = blobs[i]] { ensure(diffId, blob); });
  }
  try {
    if (tasks.size() == 1) return tasks.front()();
    runInChildren(tasks);
  } catch (...) {
    layout_.recover();  // children that were killed left their folders
    throw;
  }
}

void Layers::adopt(const std::string& folder, const Digest& diffId, std::uint64_t entries,
                   std::uint64_t bytes) const {
  const FileLock lock = lockObject(layout_, diffId);
  if (has(diffId)) return;
  IngestDir view{layout_};
  sys::renameat(layout_.fd(), folder, view.fd(), "fs");
  publishView(layout_, view, {diffId, entries, bytes, bootId()});
}

UnpackStats Layers::fill(const IngestDir& folder, int tar, const std::string& name) const {
  const LayerViewChoice choice = chooseLayerView(layout_);
  try {
    return fillFromFile(folder, tar, name, choice.view);
  } catch (const Error& error) {
    if (!canUnpackInstead(choice, error)) throw;
    sys::unlinkat(folder.fd(), kIndex, 0);
    return fillFromFile(folder, tar, name, LayerView::directory);
  }
}

void Layers::adopt(IngestDir& folder, const Digest& diffId, std::uint64_t entries,
                   std::uint64_t bytes) const {
  const FileLock lock = lockObject(layout_, diffId);
  if (has(diffId)) return;
  Meta meta{diffId, entries, bytes, bootId()};
  if (sys::tryFstatat(folder.fd(), kIndex)) meta.archive = kInBlob;
  publishView(layout_, folder, meta);
}

std::uint64_t Layers::sizeOf(const Digest& diffId) const {
  const auto meta = readLayerMeta(layout_, diffId);
  if (!meta) throw Error::make(Kind::notFound, "layer {} is not unpacked", diffId.str());
  return meta->bytes;
}

void runInChildren(const std::vector<std::function<void()>>& tasks) {
  const long cpus = ::sysconf(_SC_NPROCESSORS_ONLN);
  const size_t limit = cpus > 0 ? static_cast<size_t>(cpus) : 1;
  std::vector<Child> running;  // killed and reaped when an error leaves this function
  size_t next = 0;
  while (next < tasks.size() || !running.empty()) {
    while (next < tasks.size() && running.size() < limit) {
      running.push_back(Child::fork([&task = tasks[next]] {
        task();
        return std::string{};
      }));
      ++next;
    }
    std::vector<pollfd> polls;
    polls.reserve(running.size());
    for (const Child& child : running) polls.push_back({child.pidfd(), POLLIN, 0});
    const size_t children = polls.size();
    polls.push_back({interruptionFd(), POLLIN, 0});
    sys::check([&] { return ::poll(polls.data(), polls.size(), -1); }, "wait for workers");
    if (polls.back().revents != 0) throwIfInterrupted();
    for (size_t i = children; i-- > 0;) {
      if (polls[i].revents == 0) continue;
      Child done = std::move(running[i]);
      running.erase(running.begin() + static_cast<std::ptrdiff_t>(i));
      done.finish();
    }
  }
}

}  // namespace img::store
