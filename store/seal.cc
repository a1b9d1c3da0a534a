#include "store/seal.h"

#include <dirent.h>
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
#include "store/layer_emitter.h"
#include "store/lower_view.h"
#include "store/owners.h"
#include "store/tar.h"
#include "store/tree_merge.h"
#include "store/whiteout.h"
#include "store/xattrs.h"

namespace img::store {
namespace {

class Sealer : LayerEmitter {
 public:
  // `folder`: where in the archive the entries go.
  Sealer(TarWriter& tar, const SealOptions& options, std::string folder = {})
      : LayerEmitter(tar, options, std::move(folder)) {}

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
  void sealSpecial(int dir, const std::string& name, const struct stat& st,
                   const LowerFolder& below);

  [[nodiscard]] bool hidesNothing(const LowerFolder& below, const std::string& name) const;
  [[nodiscard]] struct stat statOf(int fd) const;
  void emitMark(std::string_view name);
  bool emitAsLink(const TarEntry& entry, const struct stat& st);

  const bool recordsOwners_ = recordsOwners();
  std::map<std::pair<dev_t, ino_t>, std::string>
      links_;  // first path of every file with several names
};

std::vector<Sealer::Item> Sealer::listItems(const ChangeFolder& folder) {
  std::vector<Item> items;
  for (ChangeFolder::Item& found : folder.list()) {
    std::string key = found.name;
    if (found.isWhiteout) {
      key.insert(0, kWhiteoutPrefix);
    } else {
      checkName(key);
    }
    items.push_back({std::move(key), std::move(found)});
  }
  std::sort(items.begin(), items.end());
  return items;
}

void Sealer::walk(const ChangeFolder& folder, bool isMarked, const LowerFolder& below, int depth) {
  checkDepth(depth);
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
  const size_t outer = held();
  if (isSame) {
    hold(std::move(entry));
  } else {
    emit(entry);
  }
  walk(folder, isMarked, lower && !isOpaque ? below.descend(name) : LowerFolder{}, depth + 1);
  release(outer);  // still there: nothing below it has changed
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
  TarEntry entry = entryFor(st);
  setType(entry, st);
  const bool isLink = entry.type == TarEntry::Type::symlink;
  if (isLink) entry.linkTarget = sys::readlinkat(dir, name);
  if (st.st_nlink > 1 && emitAsLink(entry, st)) return;
  // Symbolic links can have none of the attributes that travel (xattr(7): user.* and ACLs).
  if (!isLink) entry.xattrs = readXattrsAt(dir, name);
  if (!below.isEmpty() && st.st_nlink == 1) {
    const auto lower = below.find(name);
    if (lower && isSameSpecial(entry, st, *lower)) return;
  }
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
  emitLink(entry, known->second);
  return true;
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
                      const SealOptions& options, BlobWriter::Durability durability,
                      BlobWriter::Caching caching) {
  BlobWriter blob{layout, caching};
  const SealResult stats = writeLayerTar(uppers, blob, options);
  return {blob.commit(media::kLayer, {}, durability), stats};
}

SealedLayer sealLayer(const Layout& layout, int upper, const SealOptions& options,
                      BlobWriter::Durability durability, BlobWriter::Caching caching) {
  return sealLayer(layout, std::vector<int>{upper}, options, durability, caching);
}

}  // namespace img::store
