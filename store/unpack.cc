#include "store/unpack.h"

#include <sys/sysmacros.h>

#include <algorithm>

#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "store/blobs.h"
#include "store/tar.h"
#include "store/tree_writer.h"
#include "store/whiteout.h"
#include "store/xattrs.h"

namespace img::store {
namespace {

// L1 of security.md: an ordinary error that names the limit and its variable; 0 lifts it.
class EntryLimits {
 public:
  explicit EntryLimits(std::string name) : name_(std::move(name)) {}

  void count(const TarEntry& entry) {
    if (++entries_ > maxEntries_) exceed("entries", kEntries, maxEntries_);
    // Before a byte is written, and with holes counted: 2 KiB of tar can be 8 TiB of file.
    if (entry.size > maxBytes_ - bytes_) exceed("bytes", kBytes, maxBytes_);
    bytes_ += entry.size;
  }
  [[nodiscard]] UnpackStats stats() const { return {entries_, bytes_}; }

 private:
  static constexpr char kBytes[] = "IMG_LIMIT_LAYER_BYTES";
  static constexpr char kEntries[] = "IMG_LIMIT_LAYER_ENTRIES";

  [[noreturn]] void exceed(std::string_view what, const char* variable, std::uint64_t limit) const {
    throw Error::make(Kind::failed, "{}: more than {} {} in one layer", name_, limit, what)
        .code("limit")
        .hint(fmt::format("raise the limit with {}=NUMBER, or lift it with {}=0", variable,
                          variable));
  }

  std::string name_;
  std::uint64_t maxBytes_ = limitFromEnvironment(kBytes, std::uint64_t{64} << 30);
  std::uint64_t maxEntries_ = limitFromEnvironment(kEntries, 4'000'000);
  std::uint64_t bytes_ = 0, entries_ = 0;
};

[[noreturn]] void refuse(const std::string& name, const TarEntry& entry, std::string_view what) {
  throw Error::make(Kind::corrupt, "{}: entry {}: {}", name, text::quote(entry.path), what);
}

// The times that ext4 keeps (s_time_max, fs/ext4/super.c), and xfs too. Others would become these
// there, and stay as they are in an index or on btrfs: one layer is the same tree everywhere. The
// last second has no parts (timestamp_truncate(), fs/inode.c).
timespec clampToFileSystems(timespec time) {
  constexpr std::int64_t kOldest = -(std::int64_t{1} << 31);
  constexpr std::int64_t kNewest = kOldest + (std::int64_t{1} << 34) - 1;
  if (time.tv_sec > kOldest && time.tv_sec < kNewest) return time;
  return {std::clamp<std::int64_t>(time.tv_sec, kOldest, kNewest), 0};
}

EntryMeta metaOf(const TarEntry& entry, const ArchiveOptions& options, const std::string& name) {
  EntryMeta meta;
  meta.mode = entry.mode;
  meta.uid = options.uid.value_or(entry.uid);
  meta.gid = options.gid.value_or(entry.gid);
  meta.mtime = {entry.mtimeSeconds, static_cast<long>(entry.mtimeNanoseconds)};
  if (options.clampMtime && meta.mtime.tv_sec >= *options.clampMtime)
    meta.mtime = {*options.clampMtime, 0};
  meta.mtime = clampToFileSystems(meta.mtime);
  if (!entry.xattrs.empty())
    meta.xattrs = keptXattrs(entry.xattrs, name + ": " + text::quote(entry.path));
  return meta;
}

void putEntry(LayerTree& tree, const std::string& path, const TarEntry& entry,
              const EntryMeta& meta, const LayerEntries::PutFile& putFile,
              const std::string& name) {
  using Type = TarEntry::Type;
  switch (entry.type) {
    case Type::file: return putFile(path, meta);
    case Type::directory: return tree.putFolder(path, meta);
    case Type::symlink: return tree.putSymlink(path, meta, entry.linkTarget);
    case Type::fifo: return tree.putNode(path, meta, S_IFIFO, 0);
    case Type::hardLink: {
      const std::string target = cleanTarPath(entry.linkTarget, name);
      if (target.empty()) refuse(name, entry, "hard link to a folder");
      return tree.putLink(path, target);
    }
    case Type::charDevice:
    case Type::blockDevice: break;
  }
  const bool isChar = entry.type == Type::charDevice;
  if (isChar && entry.deviceMajor == 0 && entry.deviceMinor == 0) {
    // T6: to overlayfs this is a whiteout; no image has a use for it.
    refuse(name, entry, "character device 0:0, an overlay whiteout in disguise");
  }
  tree.putNode(path, meta, isChar ? S_IFCHR : S_IFBLK,
               makedev(entry.deviceMajor, entry.deviceMinor));
}

// What T5 makes of a path: where a mark belongs, or that the entry is to be ignored.
struct LayerName {
  WhiteoutKind kind = WhiteoutKind::none;
  std::string parent, last;
};

LayerName classify(const std::string& path, const TarEntry& entry, const std::string& name) {
  LayerName result;
  if (path.find(kWhiteoutPrefix) == std::string::npos) return result;
  const auto parts = text::split(path, '/');
  for (size_t i = 0; i + 1 < parts.size(); ++i) {
    const WhiteoutKind kind = whiteoutKind(parts[i]);
    if (kind == WhiteoutKind::metadata) return {WhiteoutKind::metadata, {}, {}};
    if (kind != WhiteoutKind::none) refuse(name, entry, "a whiteout with something inside");
  }
  result.last = parts.back();
  result.kind = whiteoutKind(result.last);
  if (result.kind == WhiteoutKind::invalid)
    refuse(name, entry, "whiteout of a folder itself or of its parent");
  if (path.size() > result.last.size())
    result.parent = path.substr(0, path.size() - result.last.size() - 1);
  return result;
}

// A relative link out of the destination. Links *through* the root file system are fine: they are
// resolved inside it.
bool leavesFolder(const std::string& path, const std::string& target) {
  if (target.starts_with('/')) return false;
  auto depth = static_cast<std::int64_t>(std::count(path.begin(), path.end(), '/'));
  for (const std::string& part : text::split(target, '/')) {
    if (part == "..") {
      if (--depth < 0) return true;
    } else if (!part.empty() && part != ".") {
      ++depth;
    }
  }
  return false;
}

void putLayerEntry(LayerTree& tree, const TarEntry& entry, const LayerEntries::PutFile& putFile,
                   const std::string& name) {
  const std::string path = cleanTarPath(entry.path, name);
  if (path.empty() && entry.type != TarEntry::Type::directory)
    refuse(name, entry, "the root must be a folder");
  const LayerName layerName = classify(path, entry, name);
  switch (layerName.kind) {
    case WhiteoutKind::metadata: return;
    case WhiteoutKind::opaque: return tree.putOpaque(layerName.parent);
    case WhiteoutKind::name:
      return tree.putWhiteout(layerName.parent, layerName.last.substr(kWhiteoutPrefix.size()));
    default: putEntry(tree, path, entry, metaOf(entry, {}, name), putFile, name);
  }
}

void unpackArchiveEntry(TreeWriter& tree, const TarEntry& entry, TarReader& reader,
                        const ArchiveOptions& options, const std::string& name) {
  const std::string path = cleanTarPath(entry.path, name);
  if (path.empty()) {
    if (entry.type != TarEntry::Type::directory) refuse(name, entry, "the root must be a folder");
    return;  // "." says nothing about the folder that is already there
  }
  const bool isMark = path.starts_with(kWhiteoutPrefix) || path.find("/.wh.") != std::string::npos;
  if (isMark && !options.isTree) {
    // T5: in the layer that this becomes it would delete something.
    refuse(name, entry, "a name that begins with \".wh.\"");
  }
  const bool isLink = entry.type == TarEntry::Type::symlink && !options.isTree;
  if (isLink && leavesFolder(path, entry.linkTarget)) {
    refuse(name, entry, "symbolic link out of the destination");
  }
  const EntryMeta meta = metaOf(entry, options, name);
  const auto putFile = [&](const auto&, const auto&) { tree.putFile(path, meta, entry, reader); };
  putEntry(tree, path, entry, meta, putFile, name);
}

}  // namespace

UnpackStats unpackLayer(Source& tar, int folder, const std::string& name) {
  TarReader reader{tar, name, TarReader::Mode::readAhead};
  TreeWriter tree{folder, "", TreeWriter::Style::layer, name};
  return readLayer(reader, tree, name);
}

UnpackStats readLayer(TarReader& reader, LayerTree& tree, const std::string& name) {
  LayerEntries entries{tree, name};
  while (const TarEntry* entry = reader.next()) {
    entries.put(*entry, [&](const std::string& path, const EntryMeta& meta) {
      tree.putFile(path, meta, *entry, reader);
    });
  }
  const UnpackStats stats = entries.finish();
  reader.drain();
  return stats;
}

class LayerEntries::Limits final : public EntryLimits {
 public:
  using EntryLimits::EntryLimits;
};

LayerEntries::LayerEntries(LayerTree& tree, std::string name)
    : tree_(tree), name_(std::move(name)), limits_(std::make_unique<Limits>(name_)) {}

LayerEntries::~LayerEntries() = default;

void LayerEntries::put(const TarEntry& entry, const PutFile& putFile) {
  limits_->count(entry);
  putLayerEntry(tree_, entry, putFile, name_);
}

UnpackStats LayerEntries::finish() {
  tree_.finish();
  return limits_->stats();
}

UnpackStats unpackArchive(Source& tar, int root, const std::string& folder,
                          const ArchiveOptions& options, const std::string& name) {
  TarReader reader{tar, name, TarReader::Mode::readAhead};
  TreeWriter tree{root, folder == "/" ? "" : cleanTarPath(folder, name), TreeWriter::Style::archive,
                  name};
  EntryLimits limits{name};
  while (const TarEntry* entry = reader.next()) {
    limits.count(*entry);
    unpackArchiveEntry(tree, *entry, reader, options, name);
  }
  tree.finish();
  reader.drain();
  return limits.stats();
}

}  // namespace img::store
