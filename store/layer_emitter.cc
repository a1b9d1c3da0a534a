#include "store/layer_emitter.h"

#include <sys/sysmacros.h>

#include <algorithm>

#include "base/error.h"
#include "base/sys.h"
#include "base/text.h"
#include "store/change_folder.h"
#include "store/holes.h"
#include "store/same_file.h"
#include "store/whiteout.h"

namespace img::store {
namespace {

struct Time {
  std::int64_t seconds;
  std::uint32_t nanoseconds;
  bool operator==(const Time&) const = default;
};

Time timeOf(const struct stat& st, const SealOptions& options) {
  const Time time{st.st_mtim.tv_sec, static_cast<std::uint32_t>(st.st_mtim.tv_nsec)};
  if (options.setMtime) return {*options.setMtime, 0};
  if (!options.clampMtime) return time;
  const Time latest{*options.clampMtime, 0};
  const bool isLater =
      time.seconds > latest.seconds || (time.seconds == latest.seconds && time.nanoseconds > 0);
  return isLater ? latest : time;
}

}  // namespace

void LayerEmitter::checkDepth(int depth) const {
  if (depth <= kMaxLayerDepth) return;
  throw Error::make(Kind::unsupported, "{} is nested over {} folders deep", text::quote(path_),
                    kMaxLayerDepth);
}

void LayerEmitter::checkName(const std::string& name) const {
  if (options_.isLive || !name.starts_with(kWhiteoutPrefix)) return;
  throw Error::make(Kind::unsupported,
                    "a layer cannot hold {}: names that begin with \".wh.\" mean deletion",
                    text::quote(path_.empty() ? name : path_ + "/" + name))
      .hint("remove or rename the file in the step that makes it");
}

void LayerEmitter::setType(TarEntry& entry, const struct stat& st) {
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

TarEntry LayerEmitter::entryFor(const struct stat& st) const {
  TarEntry entry;
  entry.path = path_;
  entry.type = S_ISDIR(st.st_mode) ? TarEntry::Type::directory : TarEntry::Type::file;
  // The mode of a symbolic link is 0777 on Linux and means nothing.
  entry.mode = st.st_mode & 07777;
  entry.uid = st.st_uid;
  entry.gid = st.st_gid;
  const Time time = timeOf(st, options_);
  entry.mtimeSeconds = time.seconds;
  entry.mtimeNanoseconds = time.nanoseconds;
  return entry;
}

void LayerEmitter::emit(const TarEntry& entry) {
  for (const TarEntry& folder : pending_) tar_.add(folder);
  result_.entries += pending_.size() + 1;
  pending_.clear();
  if (options_.inspectEntry) options_.inspectEntry(entry);
  tar_.add(entry);
}

void LayerEmitter::emitLink(const TarEntry& entry, const std::string& first) {
  TarEntry link = entry;
  link.type = TarEntry::Type::hardLink;
  link.linkTarget = first;
  emit(link);
}

void LayerEmitter::emitFile(int file, const struct stat& st, TarEntry entry) {
  copyFile(file, beginFile(file, st, std::move(entry)));
}

TarEntry LayerEmitter::beginFile(int file, const struct stat& st, TarEntry entry) {
  entry.size = static_cast<std::uint64_t>(st.st_size);
  if (entry.size >= kMinHole) {
    entry.extents = dataExtents(file, entry.size);
    entry.sparse = entry.extents.size() != 1 || entry.extents[0].length != entry.size;
  }
  emit(entry);
  result_.bytes += entry.size;
  return entry;
}

void LayerEmitter::copyFile(int file, const TarEntry& entry) {
  if (!entry.sparse) return copyData(file, 0, entry.size);
  for (const auto& extent : entry.extents) copyData(file, extent.offset, extent.length);
}

void LayerEmitter::copyData(int file, std::uint64_t offset, std::uint64_t length) {
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

bool LayerEmitter::isSameMeta(const struct stat& st, const struct stat& lower) const {
  return st.st_mode == lower.st_mode && st.st_uid == lower.st_uid && st.st_gid == lower.st_gid &&
         timeOf(st, options_) == timeOf(lower, options_);
}

bool LayerEmitter::isSameFile(int file, const struct stat& st, const Xattrs& xattrs,
                              const LowerFolder::Found& lower) const {
  if (!isSameMeta(st, lower.st) || st.st_size != lower.st.st_size) return false;
  const Fd other = openForReading(lower.dir, name(), 0);
  return xattrs == readXattrs(other.get()) &&
         isSameContent(file, other.get(), static_cast<std::uint64_t>(st.st_size));
}

bool LayerEmitter::isSameSpecial(const TarEntry& entry, const struct stat& st,
                                 const LowerFolder::Found& lower) const {
  if (!isSameMeta(st, lower.st) || st.st_rdev != lower.st.st_rdev) return false;
  if (S_ISLNK(st.st_mode)) return entry.linkTarget == sys::readlinkat(lower.dir, name());
  return entry.xattrs == readXattrsAt(lower.dir, name());
}

}  // namespace img::store
