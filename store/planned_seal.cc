#include "store/planned_seal.h"

#include <fcntl.h>
#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <map>
#include <tuple>
#include <utility>

#include "base/error.h"
#include "base/preallocation.h"
#include "base/sys.h"
#include "base/text.h"
#include "store/block_pipe.h"
#include "store/change_folder.h"
#include "store/layer_emitter.h"
#include "store/side_work.h"
#include "store/tar.h"

namespace img::store {
namespace {

// The source folders on the way to the one that is read from.
class OpenSources {
 public:
  Fd openFile(const PlannedNode& node) {
    if (!node.source) return memoryFile(node.text);
    if (node.text.empty()) return sys::reopen(node.source->root, O_RDONLY | O_NONBLOCK);
    return openForReading(folder(node.source), node.text, 0);
  }

 private:
  static Fd memoryFile(const std::string& text) {
    Fd fd{static_cast<int>(
        sys::check([] { return ::memfd_create("inline", MFD_CLOEXEC); }, "make a file in memory"))};
    writeAll(fd.get(), text, "an inline file");
    return fd;
  }

  using FolderRef = std::shared_ptr<const SourceFolder>;

  int folder(const FolderRef& wanted) {
    if (!opened_.empty() && opened_.back().first == wanted) return opened_.back().second.get();
    std::vector<FolderRef> way;
    for (FolderRef at = wanted; at; at = at->parent) way.push_back(at);
    std::reverse(way.begin(), way.end());
    const auto known =
        std::mismatch(way.begin(), way.end(), opened_.begin(), opened_.end(),
                      [](const FolderRef& at, const auto& open) { return at == open.first; });
    opened_.erase(known.second, opened_.end());
    for (size_t i = opened_.size(); i < way.size(); ++i) {
      const std::string& name = way[i]->name;
      Fd fd =
          i == 0 ? sys::openBeneath(way[i]->root, name.empty() ? "." : name, O_RDONLY | O_DIRECTORY)
                 : openForReading(opened_.back().second.get(), name, O_DIRECTORY);
      opened_.emplace_back(way[i], std::move(fd));
    }
    return opened_.back().second.get();
  }

  std::vector<std::pair<FolderRef, Fd>> opened_;
};

bool isAsPlanned(const PlannedNode& node, const struct stat& st) {
  if (!node.source) return true;
  if (node.unseenGroup != 0) return S_ISREG(st.st_mode);
  return S_ISREG(st.st_mode) && st.st_dev == node.device && st.st_ino == node.sourceInode &&
         st.st_size == node.size && st.st_mtim.tv_sec == node.mtime.tv_sec &&
         st.st_mtim.tv_nsec == node.mtime.tv_nsec;
}

Error changed(const std::string& path) {
  return Error::make(Kind::failed, "file {} changed while it was read", text::quote(path))
      .hint("build again when nothing writes to the files that are copied");
}

// Of a sparse file.
Digest digestOf(int file, const TarEntry& entry) {
  std::vector<std::byte> buffer(BlockPipe::kBlockBytes);
  Hasher hasher;
  for (std::uint64_t offset = 0; offset < entry.size;) {
    const auto piece = std::span{buffer}.first(
        static_cast<size_t>(std::min<std::uint64_t>(buffer.size(), entry.size - offset)));
    if (preadFull(file, piece, static_cast<off_t>(offset), entry.path) != piece.size())
      throw changed(entry.path);
    hasher.update(piece);
    offset += piece.size();
  }
  return hasher.finish();
}

class PlanSealer : LayerEmitter {
 public:
  PlanSealer(BlockPipe& pipe, TarWriter& tar, const PlanOptions& options, PartDigests* digests)
      : LayerEmitter(tar, options.seal, {}), plan_(options), pipe_(pipe), digests_(digests) {}

  SealResult run(PlannedLayer& layer) try {
    walk(*layer.root().folder, LowerFolder::root(layer.lowers()), 0);
    return result_;
  } catch (Error& error) {
    // The system calls know the last component only.
    if (!path_.empty()) error.during("copying {}", text::quote(path_));
    throw;
  }

 private:
  void walk(PlannedFolder& folder, const LowerFolder& below, int depth);
  void sealFolder(PlannedNode& node, const std::string& name, const LowerFolder& below, int depth);
  void sealFile(const PlannedNode& node, const std::string& name, const LowerFolder& below);
  void sealSpecial(const PlannedNode& node, const std::string& name, const LowerFolder& below);

  void sealUnseen(const PlannedNode& node, const std::string& name, const LowerFolder& below);
  void putFile(const PlanOptions::OpenedSource& source, const struct stat& st, TarEntry entry);

  Fd openAsPlanned(const PlannedNode& node, struct stat& now);
  void announce(const PlanOptions::OpenedSource& source, const TarEntry& entry);

  const PlanOptions& plan_;
  BlockPipe& pipe_;
  PartDigests* digests_;  // null: nobody wants them
  OpenSources sources_;
  std::map<const PlannedNode*, std::string> links_;  // first path of what has several names
  std::vector<std::shared_ptr<PlannedNode>> kept_;   // so that no other one gets such an address
  std::map<std::tuple<unsigned, dev_t, ino_t>, std::string> unseenLinks_;  // by group
};

// What has been written leaves the plan: its memory serves for what is noted about it.
void PlanSealer::walk(PlannedFolder& folder, const LowerFolder& below, int depth) {
  checkDepth(depth);
  const size_t parent = path_.size();
  for (auto at = folder.children.begin(); at != folder.children.end();) {
    const auto& [name, node] = *at;
    checkName(name);
    if (parent > 0) path_ += '/';
    path_ += name;
    if (node->folder) {
      sealFolder(*node, name, below, depth);
    } else if (S_ISREG(node->mode)) {
      sealFile(*node, name, below);
    } else {
      sealSpecial(*node, name, below);
    }
    path_.resize(parent);
    if (node->names > 1) kept_.push_back(node);
    at = folder.children.erase(at);
  }
}

void PlanSealer::sealFolder(PlannedNode& node, const std::string& name, const LowerFolder& below,
                            int depth) {
  PlannedFolder& folder = *node.folder;
  TarEntry entry = entryFor(node.stat());
  entry.xattrs = folder.xattrs;
  if (folder.state == PlannedFolder::State::made) {
    emit(entry);
    return walk(folder, LowerFolder{}, depth + 1);
  }
  const auto lower = below.find(name);
  if (!lower) throw Error::make(Kind::internal, "{} is not below the layer", text::quote(path_));
  const Xattrs old =
      readXattrs(sys::openat(lower->dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW).get());
  entry.xattrs.insert(old.begin(), old.end());
  const size_t outer = held();
  if (entry.xattrs == old && isSameMeta(node.stat(), lower->st)) {
    hold(std::move(entry));
  } else {
    emit(entry);
  }
  walk(folder, below.descend(name), depth + 1);
  release(outer);
}

Fd PlanSealer::openAsPlanned(const PlannedNode& node, struct stat& now) try {
  Fd file = sources_.openFile(node);
  now = sys::fstat(file.get());
  if (!isAsPlanned(node, now)) throw changed(path_);
  return file;
} catch (const Error& error) {
  // It, or a folder on the way to it, is gone, or something else has its name. ENXIO: a socket.
  const int errnum = error.errnum();
  const bool isGone = errnum == ENOENT || errnum == ENOTDIR || errnum == ELOOP || errnum == ENXIO;
  if (isGone) throw changed(path_);
  throw;
}

void PlanSealer::sealFile(const PlannedNode& node, const std::string& name,
                          const LowerFolder& below) {
  if (node.unseenGroup != 0) return sealUnseen(node, name, below);
  const struct stat st = node.stat();
  TarEntry entry = entryFor(st);
  if (node.names > 1) {
    const auto [known, isFirst] = links_.try_emplace(&node, path_);
    if (!isFirst) return emitLink(entry, known->second);
  }
  struct stat now {};
  const Fd file = openAsPlanned(node, now);
  const bool hasAny = node.source && hasXattrs(file.get());
  if (hasAny) entry.xattrs = takenXattrs(file.get(), plan_.takesXattr);
  // A file with several names is kept even when this one is as before: the others refer to it.
  if (!below.isEmpty() && node.names == 1) {
    const auto lower = below.find(name);
    if (lower && isSameFile(file.get(), st, entry.xattrs, *lower)) return;
  }
  putFile({node, file.get(), now, hasAny}, st, std::move(entry));
}

void PlanSealer::sealUnseen(const PlannedNode& node, const std::string& name,
                            const LowerFolder& below) {
  struct stat now {};
  const Fd file = openAsPlanned(node, now);
  const struct stat st = plan_.asPlanned(now);
  TarEntry entry = entryFor(st);
  if (now.st_nlink > 1) {
    const auto [known, isFirst] =
        unseenLinks_.try_emplace({node.unseenGroup, now.st_dev, now.st_ino}, path_);
    if (!isFirst) return emitLink(entry, known->second);
  }
  const bool hasAny = hasXattrs(file.get());
  if (hasAny) entry.xattrs = takenXattrs(file.get(), plan_.takesXattr);
  if (const auto lower = below.isEmpty() ? std::nullopt : below.find(name)) {
    // It is left out unless the plan has another name of it further on.
    if (now.st_nlink > 1) throw CannotPlan{path_ + " has several names"};
    if (isSameFile(file.get(), st, entry.xattrs, *lower)) return;
  }
  putFile({node, file.get(), now, hasAny}, st, std::move(entry));
}

void PlanSealer::putFile(const PlanOptions::OpenedSource& source, const struct stat& st,
                         TarEntry entry) {
  entry = beginFile(source.file, st, std::move(entry));
  if (digests_ != nullptr && source.node.source) announce(source, entry);
  copyFile(source.file, entry);
}

void PlanSealer::announce(const PlanOptions::OpenedSource& source, const TarEntry& entry) {
  PartDigests::Tell tell = plan_.digests(source);
  // Its holes are not in the tar.
  if (entry.sparse) return tell(digestOf(source.file, entry));
  digests_->announce(pipe_.position(), entry.size, std::move(tell));
}

void PlanSealer::sealSpecial(const PlannedNode& node, const std::string& name,
                             const LowerFolder& below) {
  const struct stat st = node.stat();
  TarEntry entry = entryFor(st);
  setType(entry, st);
  if (entry.type == TarEntry::Type::symlink) entry.linkTarget = node.text;
  if (!below.isEmpty()) {
    const auto lower = below.find(name);
    if (lower && isSameSpecial(entry, st, *lower)) return;
  }
  emit(entry);
}

}  // namespace

Xattrs takenXattrs(int fd, const std::function<bool(const std::string& name)>& takes) {
  Xattrs xattrs = readXattrs(fd);
  for (auto at = xattrs.begin(); at != xattrs.end();)
    at = takes(at->first) ? ++at : xattrs.erase(at);
  return xattrs;
}

namespace {

SealResult writeTar(PlannedLayer& layer, Sink& sink, const PlanOptions& options,
                    PartDigests* digests) {
  BlockPipe pipe{sink, BlockPipe::Mode::overlapped};
  TarWriter tar{pipe};
  if (options.indexer != nullptr) {
    tar.tellOfEach([&](const TarEntry& entry, std::uint64_t dataOffset) {
      options.indexer->add(entry, dataOffset);
    });
  }
  const SealResult result = PlanSealer{pipe, tar, options, digests}.run(layer);
  tar.finish();
  return result;
}

// Hashes the blocks while a thread of its own writes them.
class StagingSink final : public Sink {
 public:
  StagingSink(int file, PartDigests& digests)
      : file_(file),
        digests_(digests),
        blocks_(file),
        writer_([this](auto block) { put(block); }) {}

  void write(std::span<const std::byte> bytes) override {
    writer_.start(bytes);
    digests_.update(bytes);
    writer_.wait();
  }
  [[nodiscard]] std::uint64_t finish() {
    blocks_.trim(size_);
    return size_;
  }

 private:
  void put(std::span<const std::byte> bytes) {
    blocks_.grow(size_, size_ + bytes.size());
    writeAll(file_, bytes, "a layer");
    size_ += bytes.size();
    startWriteback(file_, size_, writtenBack_);
  }

  int file_;
  PartDigests& digests_;
  Preallocation blocks_;
  std::uint64_t size_ = 0, writtenBack_ = 0;
  SideWork writer_;  // last: it uses the others
};

}  // namespace

SealResult writePlannedTar(PlannedLayer& layer, Sink& sink, const PlanOptions& options) {
  return writeTar(layer, sink, options, nullptr);
}

SealedLayer stagePlan(PlannedLayer& layer, int file, const PlanOptions& options) {
  PartDigests digests;
  StagingSink sink{file, digests};
  SealedLayer staged;
  staged.stats = writeTar(layer, sink, options, options.digests ? &digests : nullptr);
  if (options.check) options.check();
  staged.descriptor.mediaType = media::kLayer;
  staged.descriptor.size = sink.finish();
  staged.descriptor.digest = digests.finish();
  return staged;
}

SealedLayer sealPlan(const Layout& layout, PlannedLayer& layer, const PlanOptions& options,
                     BlobWriter::Durability durability) {
  BlobWriter blob{layout};
  const SealResult stats = writePlannedTar(layer, blob, options);
  if (options.check) options.check();
  return {blob.commit(media::kLayer, {}, durability), stats};
}

}  // namespace img::store
