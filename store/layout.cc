#include "store/layout.h"

#include <dirent.h>
#include <linux/magic.h>
#include <poll.h>
#include <sys/statfs.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <tuple>
#include <utility>

#include "base/environment.h"
#include "base/interruption.h"
#include "base/log.h"
#include "base/sys.h"
#include "base/text.h"
#include "store/boot.h"
#include "store/remover.h"

namespace img::store {
namespace {

constexpr int kVersion = 1;
constexpr char kOciLayout[] = R"({"imageLayoutVersion":"1.0.0"})";
constexpr char kEmptyIndex[] =
    R"({"manifests":[],"mediaType":"application/vnd.oci.image.index.v1+json","schemaVersion":2})";

constexpr std::array kFolders = {"blobs/sha256", "layers",  "ingest", "cache/steps", "cache/stat",
                                 "containers",   "volumes", "trash",  "locks"};
constexpr char kPartial[] = "partial";
constexpr char kBlobFolder[] = "blobs/sha256/";
constexpr std::time_t kPartialLifetime = 24 * 60 * 60;
// What may lie in a folder that becomes a store: a layout of another tool, or our own unfinished
// creation.
constexpr std::array kKnownNames = {"oci-layout", "index.json", "blobs",   "layers", "ingest",
                                    "cache",      "containers", "volumes", "trash",  "locks",
                                    "leases",     "builds",     "version", "run",    "lost+found"};

bool isKnownName(const std::string& name) {
  if (name.find(".tmp-") != std::string::npos) return true;
  return std::find(kKnownNames.begin(), kKnownNames.end(), name) != kKnownNames.end();
}

void checkVersion(const std::string& text, const std::string& root) {
  const auto version = text::parseUnsigned(text::trim(text));
  if (!version || *version == 0) {
    throw Error::make(Kind::corrupt, "{}/version is not a store version: {}", root,
                      text::quote(text))
        .hint("choose another folder with --root");
  }
  if (*version > kVersion) {
    throw Error::make(Kind::unsupported, "the store {} has version {}, this program knows {}", root,
                      *version, kVersion)
        .hint("use a newer program, or another store with --root");
  }
}

void refuseForeignFolder(int root, const std::string& path) {
  for (const fs::Entry& entry : fs::list(root)) {
    if (isKnownName(entry.name)) continue;
    throw Error::make(Kind::failed, "{} is not a store: it contains {}", path,
                      text::quote(entry.name))
        .hint("choose an empty or new folder with --root");
  }
}

// Of a file that was not synced a power cut may leave no more than the name.
bool hasContent(int root, const char* name) {
  const auto st = sys::tryFstatat(root, name);
  return st && st->st_size > 0;
}

// The folder is synced once, with the last file.
void writeIfAbsent(int root, const char* name, std::string_view content) {
  if (hasContent(root, name)) return;
  fs::replaceFile(root, name, content, 0644, isDurable() ? fs::Sync::data : fs::Sync::none);
}

// Everything a rename crosses has to be on one file system (reliability.md 3).
void checkOneFileSystem(int root, const std::string& path) {
  const dev_t device = sys::fstat(root).st_dev;
  for (const char* folder : kFolders) {
    if (sys::fstatat(root, folder).st_dev == device) continue;
    throw Error::make(Kind::failed, "{}/{} lies on another file system than the store", path,
                      folder)
        .hint("mount the whole store, not a folder in it");
  }
}

// Several processes may come here at once; `version` is written last and says that the store is
// complete.
void createStore(int root, const std::string& path) {
  refuseForeignFolder(root, path);
  sys::tryMkdirat(root, "locks", 0755);
  const FileLock lock = FileLock::acquire(root, "locks/init", FileLock::Mode::exclusive);
  if (hasContent(root, "version")) return;
  for (const char* folder : kFolders) std::ignore = fs::makeDirs(root, folder);
  checkOneFileSystem(root, path);
  writeIfAbsent(root, "oci-layout", kOciLayout);
  writeIfAbsent(root, "index.json", kEmptyIndex);
  fs::replaceFile(root, "version", fmt::format("{}\n", kVersion), 0644, fullSync());
}

// Folders that somebody removed to save space, or that a backup left out because they were empty.
void restoreFolders(int root, const std::string& path) {
  for (const char* folder : kFolders) {
    if (sys::tryFstatat(root, folder)) continue;
    log::info("{}: making the folder {} again", path, folder);
    std::ignore = fs::makeDirs(root, folder);
  }
}

Fd openOrCreateRoot(const std::string& root) try {
  if (auto fd = sys::tryOpenat(AT_FDCWD, root, O_RDONLY | O_DIRECTORY)) return std::move(*fd);
  const std::filesystem::path path{root};
  const Fd parent = fs::makeDirs(AT_FDCWD, path.parent_path().string());
  sys::tryMkdirat(parent.get(), path.filename().string(), 0700);
  return sys::openDirectory(parent.get(), path.filename().string());
} catch (Error& error) {
  error.during("opening the store {}", root);
  if (error.kind() == Kind::denied)
    error.hint("run it as root, or choose a folder of yours with --root");
  throw;
}

// An entry whose lock is free belongs to nobody alive.
void removeIfAbandoned(int parent, const fs::Entry& entry) {
  auto fd = sys::tryOpenat(parent, entry.name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
  if (!fd || !sys::tryFlock(fd->get(), true)) return;
  log::info("removing what an interrupted command left behind: {}", entry.name);
  removeSoon(parent, entry.name, std::move(*fd));
}

// Interrupted downloads are of use to the next try: ingest/partial/<digest>, locked while somebody
// is at it. One without content, or whose blob came by another way, is of none.
void sweepPartial(int root, int ingest) {
  const Fd dir = sys::openDirectory(ingest, kPartial);
  const std::time_t before = ::time(nullptr) - kPartialLifetime;
  for (const fs::Entry& entry : fs::list(dir.get())) {
    const auto st = sys::tryFstatat(dir.get(), entry.name);
    if (!st) continue;
    const bool isUseless = st->st_size == 0 || st->st_mtim.tv_sec < before ||
                           sys::tryFstatat(root, kBlobFolder + entry.name);
    if (isUseless) removeIfAbandoned(dir.get(), entry);
  }
}

void sweep(int root, const char* folder) {
  const auto dir = sys::tryOpenat(root, folder, O_RDONLY | O_DIRECTORY);
  if (!dir) return;
  for (const fs::Entry& entry : fs::list(dir->get())) {
    try {
      if (entry.name == kPartial && entry.type == DT_DIR) {
        sweepPartial(root, dir->get());
        continue;
      }
      removeIfAbandoned(dir->get(), entry);
    } catch (const Error& error) {
      // Litter never stops a command; another process may be removing the same entry right now.
      log::info("{}/{}: {}", folder, entry.name, error.cause());
    }
  }
}

}  // namespace

Layout Layout::open(const std::string& root) {
  Layout layout;
  layout.root_ = root.starts_with('/') ? root : (std::filesystem::current_path() / root).string();
  while (layout.root_.size() > 1 && layout.root_.ends_with('/')) layout.root_.pop_back();
  layout.rootFd_ = openOrCreateRoot(layout.root_);
  std::optional<std::string> version = fs::tryReadFile(layout.fd(), "version", 64);
  if (!version || version->empty()) {
    createStore(layout.fd(), layout.root_);
    version = fs::readFile(layout.fd(), "version", 64);
  }
  checkVersion(*version, layout.root_);
  restoreFolders(layout.fd(), layout.root_);
  return layout;
}

std::string Layout::blobPath(const Digest& digest) const {
  return kBlobFolder + digest.hex();
}

std::string Layout::layerPath(const Digest& diffId) const {
  return "layers/" + diffId.hex();
}

int Layout::blobs() const {
  if (!blobs_) blobs_ = sys::openDirectory(fd(), "blobs/sha256");
  return blobs_.get();
}

int Layout::layers() const {
  if (!layers_) layers_ = sys::openDirectory(fd(), "layers");
  return layers_.get();
}

int Layout::ingest() const {
  if (!ingest_) ingest_ = sys::openDirectory(fd(), "ingest");
  return ingest_.get();
}

void Layout::recover() const {
  checkAfterBoot(*this);
  sweep(fd(), "ingest");
  sweep(fd(), "leases");
  sweep(fd(), "trash");
}

bool isDurable() {
  return variableOrEmpty("IMG_DURABILITY") != "fast";
}

fs::Sync fullSync() {
  return isDurable() ? fs::Sync::full : fs::Sync::none;
}

const std::string& bootId() {
  static const std::string id = [] {
    const auto text = fs::tryReadFile(AT_FDCWD, "/proc/sys/kernel/random/boot_id", 128);
    return std::string{text::trim(text.value_or(""))};
  }();
  return id;
}

namespace {

// By the f_type of statfs(2).
std::string_view fileSystemName(std::uint64_t type) {
  switch (type) {
    case EXT4_SUPER_MAGIC: return "ext4";  // ext2 and ext3 have the same number
    case XFS_SUPER_MAGIC: return "xfs";
    case BTRFS_SUPER_MAGIC: return "btrfs";
    case TMPFS_MAGIC: return "tmpfs";
    case OVERLAYFS_SUPER_MAGIC: return "overlay";
    case F2FS_SUPER_MAGIC: return "f2fs";
    case NFS_SUPER_MAGIC: return "nfs";
    case FUSE_SUPER_MAGIC: return "fuse";
    default: return "";
  }
}

}  // namespace

Room roomOf(const Layout& layout) {
  const struct statfs info = sys::fstatfs(layout.fd(), layout.root());
  Room room;
  room.bytes = static_cast<std::uint64_t>(info.f_bavail) * static_cast<std::uint64_t>(info.f_bsize);
  if (info.f_files > 0) room.inodes = info.f_ffree;
  room.fileSystem = fileSystemName(static_cast<std::uint64_t>(info.f_type) & 0xFFFFFFFFU);
  return room;
}

void addSpaceHint(Error& error, const Layout& layout) {
  if (error.code() != "no-space" || !error.why().empty()) return;
  const Room room = roomOf(layout);
  const std::uint64_t mega = room.bytes >> 20;
  error.why(
      fmt::format("the file system of {}{} has {} and {} free", text::escape(layout.root()),
                  room.fileSystem.empty() ? "" : " (" + room.fileSystem + ")",
                  mega > 0 ? fmt::format("{} MiB", mega) : fmt::format("{} bytes", room.bytes),
                  room.inodes ? fmt::format("{} inodes", *room.inodes) : "as many inodes as fit"));
}

IngestDir::IngestDir(const Layout& layout) : layout_(&layout) {
  for (;;) {
    name_ = fs::randomHex(16);
    sys::mkdirat(layout.ingest(), name_, 0700);
    // recover() of another process may take the folder for litter before the lock is ours: try
    // again.
    auto dir = sys::tryOpenat(layout.ingest(), name_, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
    if (!dir || !sys::tryFlock(dir->get(), true) || sys::fstat(dir->get()).st_nlink == 0) continue;
    dir_ = std::move(*dir);
    return;
  }
}

IngestDir::IngestDir(IngestDir&& other) noexcept
    : layout_(other.layout_), name_(std::exchange(other.name_, {})), dir_(std::move(other.dir_)) {}

namespace {

// The command ends by a signal: whoever sent it is waiting.
bool isInterrupted() {
  pollfd signals{interruptionFd(), POLLIN, 0};
  return signals.fd >= 0 && ::poll(&signals, 1, 0) > 0;
}

}  // namespace

IngestDir::~IngestDir() {
  if (name_.empty()) return;
  try {
    if (isInterrupted()) {
      removeSoon(layout_->ingest(), name_, std::move(dir_));
    } else {
      fs::removeTree(layout_->ingest(), name_);
    }
  } catch (const std::exception& error) {
    log::info("ingest/{}: {}", name_, error.what());  // the next recover() removes it
  }
}

}  // namespace img::store
