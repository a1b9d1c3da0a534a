#include "store/seal.h"

#include <dirent.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <map>
#include <utility>

#include "base/error.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/sys.h"
#include "base/text.h"
#include "store/block_pipe.h"
#include "store/change_folder.h"
#include "store/holes.h"
#include "store/lower_view.h"
#include "store/owners.h"
#include "store/same_file.h"
#include "store/tar.h"
#include "store/tree_merge.h"
#include "store/whiteout.h"
#include "store/xattrs.h"

namespace img::store {
namespace {

// Deeper than any path the kernel accepts in one piece; keeps the walk's stack bounded.
constexpr int kMaxDepth = 4096;

struct Time {
  std::int64_t seconds;
  std::uint32_t nanoseconds;
  bool operator==(const Time&) const = default;
};

// Of what is neither a file nor a folder.
void setType(TarEntry& entry, const struct stat& st) {
  using Type = TarEntry::Type;
  switch (st.st_mode & S_IFMT) {
    case S_IFLNK: entry.type = Type::symlink; return;
    case S_IFCHR: entry.type = Type::charDevice; break;
    case S_IFBLK: entry.type = Type::blockDevice; break;
    default: entry.type = Type::fifo; return;
  }
  entry.deviceMajor = major(st.st_rdev);
  entry.deviceMinor = minor(st.st_rdev);
}

class Sealer {
 public:
  // `folder`: where in the archive the entries go.
  Sealer(TarWriter& tar, const SealOptions& options, std::string folder = {})
      : tar_(tar), options_(options), path_(std::move(folder)) {}

  // A file, link or node that is open already; path_ says how to call it.
  SealResult runObject(int handle);

  SealResult run(const std::vector<int>& uppers) try {
    const ChangeFolder root = ChangeFolder::root(uppers);
    if (!path_.empty()) emit(entryFor(statOf(root.top())));
    walk(root, root.isOpaque(),
         root.isOpaque() ? LowerFolder{} : LowerFolder::root(options_.lowers), 0);
    return result_;
  } catch (Error& error) {
    // The system calls know the last component only.
    if (!path_.empty()) error.during("sealing {}", text::quote(path_));
    throw;
  }

 private:
  // A name in a folder: `key` is what the archive says and what the order goes by.
  struct Item {
    std::string key;
    ChangeFolder::Item found;
    bool operator<(const Item& other) const { return key < other.key; }
  };

  std::vector<Item> listItems(const ChangeFolder& folder);
  void walk(const ChangeFolder& folder, bool isMarked, const LowerFolder& below, int depth);
  void sealEntry(const ChangeFolder& parent, const ChangeFolder::Item& item,
                 const LowerFolder& below, int depth);
  void sealFolder(const ChangeFolder& parent, const ChangeFolder::Item& item,
                  const LowerFolder& below, int depth);
  void sealFile(int dir, const std::string& name, const LowerFolder& below);
  void emitFile(int file, const struct stat& st, TarEntry entry);
  void sealSpecial(int dir, const std::string& name, const struct stat& st,
                   const LowerFolder& below);

  [[nodiscard]] bool hidesNothing(const LowerFolder& below, const std::string& name) const;
  [[nodiscard]] struct stat statOf(int fd) const;
  [[nodiscard]] Time timeOf(const struct stat& st) const;
  [[nodiscard]] bool isSameMeta(const struct stat& st, const struct stat& lower) const;
  bool isSameFile(int file, const struct stat& st, const Xattrs& xattrs,
                  const LowerFolder::Found& lower);
  [[nodiscard]] bool isSameSpecial(int dir, const std::string& name, const struct stat& st,
                                   const LowerFolder& below) const;

  [[nodiscard]] TarEntry entryFor(const struct stat& st) const;
  void emit(const TarEntry& entry);
  void emitMark(std::string_view name);
  bool emitAsLink(const TarEntry& entry, const struct stat& st);
  void copyData(int file, std::uint64_t offset, std::uint64_t length);

  TarWriter& tar_;
  const SealOptions& options_;
  const bool recordsOwners_ = recordsOwners();
  SealResult result_;
  std::string path_;  // of the entry under way
  // Folders that did not change, outermost first: written when something below them is.
  std::vector<TarEntry> pending_;
  std::map<std::pair<dev_t, ino_t>, std::string>
      links_;  // first path of every file with several names
};

std::vector<Sealer::Item> Sealer::listItems(const ChangeFolder& folder) {
  std::vector<Item> items;
  for (ChangeFolder::Item& found : folder.list()) {
    std::string key = found.name;
    if (found.isWhiteout) {
      key.insert(0, kWhiteoutPrefix);
    } else if (key.starts_with(kWhiteoutPrefix) && !options_.isLive) {
      // OCI image-spec layer.md, "Whiteouts": such a name would delete something when the layer is
      // unpacked.
      throw Error::make(Kind::unsupported,
                        "a layer cannot hold {}: names that begin with \".wh.\" mean deletion",
                        text::quote(path_.empty() ? key : path_ + "/" + key))
          .hint("remove or rename the file in the step that makes it");
    }
    items.push_back({std::move(key), std::move(found)});
  }
  std::sort(items.begin(), items.end());
  return items;
}

void Sealer::walk(const ChangeFolder& folder, bool isMarked, const LowerFolder& below, int depth) {
  if (depth > kMaxDepth) {
    throw Error::make(Kind::unsupported, "{} is nested over {} folders deep", text::quote(path_),
                      kMaxDepth);
  }
  if (isMarked) emitMark(kOpaqueName);
  const size_t parent = path_.size();
  for (const Item& item : listItems(folder)) {
    const std::string& name = item.found.name;
    if (parent > 0) path_ += '/';
    path_ += name;
    if (item.found.isWhiteout) {
      path_.resize(parent);
      if (!hidesNothing(below, name)) emitMark(item.key);
    } else {
      sealEntry(folder, item.found, below, depth);
      path_.resize(parent);
    }
  }
}

void Sealer::sealEntry(const ChangeFolder& parent, const ChangeFolder::Item& item,
                       const LowerFolder& below, int depth) try {
  // Files and folders are opened at once and everything is asked of the descriptor: one path lookup
  // each.
  const std::string& name = item.name;
  const int dir = parent.dirOf(item);
  if (item.type == DT_REG) return sealFile(dir, name, below);
  if (item.type == DT_DIR) return sealFolder(parent, item, below, depth);
  struct stat st = sys::fstatat(dir, name);
  if (recordsOwners_) applyOwnerAt(dir, name, st);
  switch (st.st_mode & S_IFMT) {
    case S_IFDIR: return sealFolder(parent, item, below, depth);
    case S_IFREG: return sealFile(dir, name, below);
    case S_IFSOCK: log::info("socket {} is left out of the layer", text::quote(path_)); return;
    default: return sealSpecial(dir, name, st, below);
  }
} catch (const Error& error) {
  const bool isGone = error.errnum() == ENOENT || error.errnum() == ENOTDIR ||
                      error.errnum() == ELOOP || error.errnum() == ENXIO;
  if (!options_.isLive || !isGone) throw;
  log::info("{} changed while it was read and is left out", text::quote(path_));
}

void Sealer::sealFolder(const ChangeFolder& parent, const ChangeFolder::Item& item,
                        const LowerFolder& below, int depth) {
  const std::string& name = item.name;
  const ChangeFolder folder = parent.descend(item);
  const struct stat st = statOf(folder.top());
  TarEntry entry = entryFor(st);
  entry.xattrs = readXattrs(folder.top());
  const bool isOpaque = folder.isOpaque();
  // overlayfs marks every new folder of a merged one (ovl_create_upper, fs/overlayfs/dir.c).
  const bool isMarked = isOpaque && !hidesNothing(below, name);
  const auto lower = below.find(name);
  bool isSame = false;
  if (lower && !isOpaque && S_ISDIR(lower->st.st_mode) && isSameMeta(st, lower->st)) {
    isSame = entry.xattrs ==
             readXattrs(sys::openat(lower->dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW).get());
  }
  if (options_.isLive && isKernelFolder(folder.top())) return emit(entry);
  const size_t outer = pending_.size();
  if (isSame) {
    pending_.push_back(std::move(entry));
  } else {
    emit(entry);
  }
  walk(folder, isMarked, lower && !isOpaque ? below.descend(name) : LowerFolder{}, depth + 1);
  // Still pending: nothing below it has changed.
  if (pending_.size() > outer) pending_.resize(outer);
}

void Sealer::sealFile(int dir, const std::string& name, const LowerFolder& below) {
  const Fd file = openForReading(dir, name, 0);
  const struct stat st = statOf(file.get());
  if (!S_ISREG(st.st_mode) && options_.isLive) return;
  if (!S_ISREG(st.st_mode))
    throw Error::make(Kind::failed, "{} changed while it was read", text::quote(path_));
  TarEntry entry = entryFor(st);
  if (st.st_nlink > 1 && emitAsLink(entry, st)) return;
  entry.xattrs = readXattrs(file.get());
  // A file with several names is kept even when this one is as before: the others refer to it.
  if (!below.isEmpty() && st.st_nlink == 1) {
    const auto lower = below.find(name);
    if (lower && isSameFile(file.get(), st, entry.xattrs, *lower)) return;
  }

  emitFile(file.get(), st, std::move(entry));
}

void Sealer::emitFile(int file, const struct stat& st, TarEntry entry) {
  entry.size = static_cast<std::uint64_t>(st.st_size);
  if (entry.size >= kMinHole) {
    entry.extents = dataExtents(file, entry.size);
    entry.sparse = entry.extents.size() != 1 || entry.extents[0].length != entry.size;
  }
  emit(entry);
  result_.bytes += entry.size;
  if (!entry.sparse) return copyData(file, 0, entry.size);
  for (const auto& extent : entry.extents) copyData(file, extent.offset, extent.length);
}

SealResult Sealer::runObject(int handle) {
  const struct stat st = statOf(handle);
  TarEntry entry = entryFor(st);
  if (S_ISREG(st.st_mode)) {
    const Fd file = sys::reopen(handle, O_RDONLY | O_NONBLOCK);
    entry.xattrs = readXattrs(file.get());
    emitFile(file.get(), st, std::move(entry));
    return result_;
  }
  setType(entry, st);
  if (S_ISLNK(st.st_mode)) entry.linkTarget = sys::readlinkat(handle, "");
  emit(entry);
  return result_;
}

void Sealer::sealSpecial(int dir, const std::string& name, const struct stat& st,
                         const LowerFolder& below) {
  using Type = TarEntry::Type;
  if (isSameSpecial(dir, name, st, below)) return;
  TarEntry entry = entryFor(st);
  setType(entry, st);
  if (entry.type == Type::symlink) entry.linkTarget = sys::readlinkat(dir, name);
  if (st.st_nlink > 1 && emitAsLink(entry, st)) return;
  // Symbolic links can have none of the attributes that travel (xattr(7): user.* and ACLs).
  if (entry.type != Type::symlink) entry.xattrs = readXattrsAt(dir, name);
  emit(entry);
}

// A mark for a name that no layer below has; a layer without lowers is sealed for any.
bool Sealer::hidesNothing(const LowerFolder& below, const std::string& name) const {
  return (options_.isBottom || !options_.lowers.empty()) && !below.find(name);
}

// With the owner that the layer says, whoever has the file here.
struct stat Sealer::statOf(int fd) const {
  struct stat st = sys::fstat(fd);
  if (recordsOwners_) applyOwner(fd, st);
  return st;
}

Time Sealer::timeOf(const struct stat& st) const {
  const Time time{st.st_mtim.tv_sec, static_cast<std::uint32_t>(st.st_mtim.tv_nsec)};
  if (options_.setMtime) return {*options_.setMtime, 0};
  if (!options_.clampMtime) return time;
  const Time latest{*options_.clampMtime, 0};
  const bool isLater =
      time.seconds > latest.seconds || (time.seconds == latest.seconds && time.nanoseconds > 0);
  return isLater ? latest : time;
}

bool Sealer::isSameMeta(const struct stat& st, const struct stat& lower) const {
  return st.st_mode == lower.st_mode && st.st_uid == lower.st_uid && st.st_gid == lower.st_gid &&
         timeOf(st) == timeOf(lower);
}

bool Sealer::isSameFile(int file, const struct stat& st, const Xattrs& xattrs,
                        const LowerFolder::Found& lower) {
  if (!isSameMeta(st, lower.st) || st.st_size != lower.st.st_size) return false;
  const std::string name = path_.substr(path_.rfind('/') + 1);
  const Fd other = openForReading(lower.dir, name, 0);
  return xattrs == readXattrs(other.get()) &&
         isSameContent(file, other.get(), static_cast<std::uint64_t>(st.st_size));
}

bool Sealer::isSameSpecial(int dir, const std::string& name, const struct stat& st,
                           const LowerFolder& below) const {
  if (below.isEmpty() || st.st_nlink > 1) return false;
  const auto lower = below.find(name);
  if (!lower || !isSameMeta(st, lower->st) || st.st_rdev != lower->st.st_rdev) return false;
  if (S_ISLNK(st.st_mode)) return sys::readlinkat(dir, name) == sys::readlinkat(lower->dir, name);
  return readXattrsAt(dir, name) == readXattrsAt(lower->dir, name);
}

TarEntry Sealer::entryFor(const struct stat& st) const {
  TarEntry entry;
  entry.path = path_;
  entry.type = S_ISDIR(st.st_mode) ? TarEntry::Type::directory : TarEntry::Type::file;
  // The mode of a symbolic link is 0777 on Linux and means nothing.
  entry.mode = st.st_mode & 07777;
  entry.uid = st.st_uid;
  entry.gid = st.st_gid;
  const Time time = timeOf(st);
  entry.mtimeSeconds = time.seconds;
  entry.mtimeNanoseconds = time.nanoseconds;
  return entry;
}

void Sealer::emit(const TarEntry& entry) {
  for (const TarEntry& folder : pending_) tar_.add(folder);
  result_.entries += pending_.size() + 1;
  pending_.clear();
  tar_.add(entry);
}

// A whiteout or opaque mark in the folder under way: an empty file with nothing that could differ.
void Sealer::emitMark(std::string_view name) {
  TarEntry mark;
  mark.path = path_;
  if (!path_.empty()) mark.path += '/';
  mark.path += name;
  emit(mark);
}

bool Sealer::emitAsLink(const TarEntry& entry, const struct stat& st) {
  const auto [known, isFirst] = links_.try_emplace({st.st_dev, st.st_ino}, path_);
  if (isFirst) return false;
  TarEntry link = entry;
  link.type = TarEntry::Type::hardLink;
  link.linkTarget = known->second;
  emit(link);
  return true;
}

void Sealer::copyData(int file, std::uint64_t offset, std::uint64_t length) {
  // Read straight into the block that goes to the sink: the bytes are not copied again.
  while (length > 0) {
    auto space = tar_.space();
    space = space.first(static_cast<size_t>(std::min<std::uint64_t>(space.size(), length)));
    size_t count = preadFull(file, space, static_cast<off_t>(offset), path_);
    if (options_.isLive && count != space.size()) {
      std::fill(space.begin() + static_cast<std::ptrdiff_t>(count), space.end(), std::byte{0});
      count = space.size();
    }
    if (count != space.size())
      throw Error::make(Kind::failed, "{} changed while it was read", text::quote(path_));
    if (options_.inspect) options_.inspect(path_, space);
    tar_.advance(count);
    offset += count;
    length -= count;
  }
}

}  // namespace

SealResult writeLayerTar(const std::vector<int>& uppers, Sink& sink, const SealOptions& options) {
  BlockPipe pipe{sink, BlockPipe::Mode::overlapped};
  TarWriter tar{pipe};
  const SealResult result = Sealer{tar, options}.run(uppers);
  tar.finish();
  return result;
}

SealResult writeTreesTar(const std::vector<TarTree>& trees, Sink& sink,
                         const SealOptions& options) {
  BlockPipe pipe{sink, BlockPipe::Mode::overlapped};
  TarWriter tar{pipe};
  SealResult total;
  for (const TarTree& tree : trees) {
    const SealResult part = Sealer{tar, options, tree.name}.run(tree.folders);
    total.entries += part.entries;
    total.bytes += part.bytes;
  }
  tar.finish();
  return total;
}

SealResult writeObjectTar(int handle, const std::string& name, Sink& sink) {
  SealOptions options;
  options.isLive = true;
  BlockPipe pipe{sink, BlockPipe::Mode::overlapped};
  TarWriter tar{pipe};
  const SealResult result = Sealer{tar, options, name}.runObject(handle);
  tar.finish();
  return result;
}

SealResult writeLayerTar(int upper, Sink& sink, const SealOptions& options) {
  return writeLayerTar(std::vector<int>{upper}, sink, options);
}

SealedLayer sealLayer(const Layout& layout, const std::vector<int>& uppers,
                      const SealOptions& options, BlobWriter::Durability durability) {
  BlobWriter blob{layout};
  const SealResult stats = writeLayerTar(uppers, blob, options);
  return {blob.commit(media::kLayer, {}, durability), stats};
}

SealedLayer sealLayer(const Layout& layout, int upper, const SealOptions& options,
                      BlobWriter::Durability durability) {
  return sealLayer(layout, std::vector<int>{upper}, options, durability);
}

}  // namespace img::store
