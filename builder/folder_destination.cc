#include "builder/folder_destination.h"

#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <tuple>

#include "base/sys.h"
#include "base/text.h"
#include "builder/content_digest.h"

namespace img::builder {
namespace {

constexpr size_t kBuffer = size_t{512} << 10;

// Failures are ignored (3.8): the destination's file system may lack what the source's has.
void copyXattrs(int from, int to) {
  for (const std::string& name : sys::flistxattr(from)) {
    if (!isCopiedXattr(name)) continue;
    const auto value = sys::fgetxattr(from, name);
    if (value) ::fsetxattr(to, name.c_str(), value->data(), value->size(), 0);
  }
}

Error changed(const std::string& name) {
  return Error::make(Kind::failed, "file {} changed while it was read", text::quote(name));
}

}  // namespace

struct FolderDestination::Opened final : Folder {
  explicit Opened(Fd folder) : fd(std::move(folder)) {}
  Fd fd;
};

int FolderDestination::fdOf(const Folder& folder) {
  return static_cast<const Opened&>(folder).fd.get();
}

CopyDestination::FolderRef FolderDestination::makeFolders(const std::string& path,
                                                          const NewFolder& missing) {
  return std::make_unique<Opened>(builder::makeFolders(root_, path, missing));
}

CopyDestination::Place FolderDestination::placeFor(const std::string& path, const std::string& name,
                                                   const NewFolder& missing) {
  builder::Place place = resolvePlace(root_, path, missing);
  if (!place.isFolder())
    return {std::make_unique<Opened>(std::move(place.parent)), std::move(place.name)};
  Fd folder = sys::openat(place.parent.get(), place.name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
  return {std::make_unique<Opened>(std::move(folder)), name};
}

void FolderDestination::prepareToFill(Folder& folder) {
  goDirect(static_cast<Opened&>(folder).fd);
}

CopyDestination::FolderRef FolderDestination::openFolder(Folder& parent, const std::string& name) {
  const int dir = fdOf(parent);
  if (!sys::tryMkdirat(dir, name, 0700)) {
    const struct stat old = sys::fstatat(dir, name);
    if (!S_ISDIR(old.st_mode)) {
      throw Error::make(Kind::failed, "{} exists and is not a directory (it is a {})",
                        pathOf(dir, name), typeName(old.st_mode));
    }
  }
  Fd folder = sys::openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
  goDirect(folder);
  return std::make_unique<Opened>(std::move(folder));
}

void FolderDestination::finishFolder(Folder& folder, const CopyMeta& meta, int source) {
  const int fd = fdOf(folder);
  setOwnerAndMode(fd, meta);
  copyXattrs(source, fd);
  setTime(folder, meta.mtime);
}

void FolderDestination::setTime(Folder& folder, const timespec& time) {
  sys::futimens(fdOf(folder), time, time);
}

void FolderDestination::addText(Folder& folder, const std::string& name, std::string_view content,
                                const CopyMeta& meta) {
  const int dir = fdOf(folder);
  makeRoom(dir, name);
  const Fd file = sys::openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0600);
  writeAll(file.get(), content, name);
  store::giveFile(file.get(), meta.uid, meta.gid);
  sys::fchmod(file.get(), meta.mode);
}

CopyDestination::FolderId FolderDestination::idOf(const Folder& folder) const {
  const struct stat st = sys::fstat(fdOf(folder));
  return {st.st_dev, st.st_ino};
}

std::string FolderDestination::shownPath(const Folder& folder, const std::string& name) const {
  return pathOf(fdOf(folder), name);
}

// Where `name` in the folder `dir` lies for the user: below the root, or below the upper, which is
// the same place.
std::string FolderDestination::pathOf(int dir, const std::string& name) const {
  const auto link = [](int fd) { return sys::readlinkat(AT_FDCWD, sys::procPath(fd)); };
  std::string path = link(dir) + "/" + name;
  for (const int base : {upper_, root_}) {
    const std::string prefix = base >= 0 ? link(base) + "/" : "/";
    if (prefix == "/" || !path.starts_with(prefix)) continue;
    path.erase(0, prefix.size() - 1);
    break;
  }
  return text::escape(path.starts_with("//") ? path.substr(1) : path, 500);
}

// The object of the union as it lies in the upper: the kernel tells its path inside the detached
// mount.
std::optional<Fd> FolderDestination::openInUpper(int fd, int flags) const {
  const std::string path = sys::readlinkat(AT_FDCWD, sys::procPath(fd));
  if (upper_ < 0 || path.size() < 2 || path[0] != '/') return std::nullopt;
  return sys::tryOpenInRoot(upper_, path, flags | O_NOFOLLOW);
}

// A folder that lies in the upper alone (the union shows the inode number of the lowest one) is
// filled there. Nobody looks at it through the union before that is mounted anew, so nothing stale
// is seen.
void FolderDestination::goDirect(Fd& folder) const {
  if (upper_ < 0 || isInUpper(folder.get())) return;
  auto direct = openInUpper(folder.get(), O_RDONLY | O_DIRECTORY);
  if (!direct || sys::fstat(direct->get()).st_ino != sys::fstat(folder.get()).st_ino) return;
  folder = std::move(*direct);
}

void FolderDestination::makeRoom(int toDir, const std::string& name) const {
  const auto old = sys::tryFstatat(toDir, name);
  if (!old) return;
  if (S_ISDIR(old->st_mode))
    throw Error::make(Kind::failed, "{} exists and is a directory", pathOf(toDir, name));
  sys::unlinkat(toDir, name, 0);  // never written through
}

// Only what differs is set: each change is a transaction of the file system's journal, a look is
// not.
void FolderDestination::setOwnerAndMode(int fd, const CopyMeta& meta) const {
  struct stat made = sys::fstat(fd);
  if (recordsOwners_) store::applyOwner(fd, made);
  const bool isOthers = made.st_uid != meta.uid || made.st_gid != meta.gid;
  if (isOthers) store::giveFile(fd, meta.uid, meta.gid);
  // After the owner: chown(2) clears setuid.
  if (isOthers || (made.st_mode & 07777) != meta.mode) sys::fchmod(fd, meta.mode);
}

bool FolderDestination::linkIfKnown(const struct stat& st, int toDir, const std::string& toName) {
  if (st.st_nlink < 2) return false;
  const auto known = links_.find({st.st_dev, st.st_ino});
  if (known == links_.end()) return false;
  makeRoom(toDir, toName);
  const FirstCopy& copy = known->second;
  const Fd first = sys::openInRoot(copy.isInUpper ? upper_ : root_, copy.path, O_PATH | O_NOFOLLOW);
  const std::string path = sys::procPath(first.get());
  if (::linkat(AT_FDCWD, path.c_str(), toDir, toName.c_str(), AT_SYMLINK_FOLLOW) == 0) return true;
  if (errno != EXDEV)
    throw Error::fromErrno(errno, fmt::format("create hard link {}", text::quote(toName)));
  linkInUpper(first.get(), toDir, toName);
  return true;
}

bool FolderDestination::isInUpper(int fd) const {
  return upper_ >= 0 && sys::fstat(fd).st_dev == sys::fstat(upper_).st_dev;
}

FolderDestination::FirstCopy FolderDestination::firstCopy(int file, int folder) const {
  FirstCopy copy{isInUpper(folder), sys::readlinkat(AT_FDCWD, sys::procPath(file))};
  // The root of a union is a mount of its own, where paths begin; a folder has one above it.
  const std::string base =
      sys::readlinkat(AT_FDCWD, sys::procPath(copy.isInUpper ? upper_ : root_));
  if (base != "/" && copy.path.starts_with(base + "/")) copy.path.erase(0, base.size());
  return copy;
}

// One name was made through the union, the other goes into the upper directly: both are in the
// upper.
void FolderDestination::linkInUpper(int file, int toDir, const std::string& toName) const {
  const auto inUpper = [&](int fd, int flags) {
    std::optional<Fd> found = isInUpper(fd) ? sys::reopen(fd, flags) : openInUpper(fd, flags);
    if (!found)
      throw Error::make(Kind::internal, "{} is not in the upper folder", text::quote(toName));
    return std::move(*found);
  };
  const Fd first = inUpper(file, O_PATH);
  const Fd folder = inUpper(toDir, O_PATH | O_DIRECTORY);
  sys::linkat(AT_FDCWD, sys::procPath(first.get()), folder.get(), toName, AT_SYMLINK_FOLLOW);
}

void FolderDestination::add(Folder& folder, const std::string& name, const CopyFile& file,
                            const CopyMeta& meta) {
  const int dir = fdOf(folder);
  const struct stat& st = file.st;
  if (linkIfKnown(st, dir, name)) return;
  if (S_ISREG(st.st_mode)) {
    addRegular(dir, name, file, meta);
    return;
  }
  makeRoom(dir, name);
  if (S_ISLNK(st.st_mode)) {
    sys::symlinkat(sys::readlinkat(file.dir, file.name), dir, name);
  } else if (S_ISSOCK(st.st_mode)) {
    // A socket without its owner means nothing (3.8).
    sys::mknodat(dir, name, S_IFREG | 0600, 0);
  } else {
    sys::mknodat(dir, name, (st.st_mode & S_IFMT) | 0600, st.st_rdev);
  }
  store::giveEntry(dir, name, meta.uid, meta.gid);
  if (!S_ISLNK(st.st_mode)) sys::fchmodat(dir, name, meta.mode);
  sys::utimensat(dir, name, meta.mtime, meta.mtime);
}

// Up to `size` bytes from where both stand; returns how many there were.
off_t FolderDestination::copyRange(int in, int out, off_t size, const std::string& name) {
  buffer_.resize(kBuffer);
  off_t done = 0;
  while (done < size) {
    const auto want = std::min<size_t>(buffer_.size(), static_cast<size_t>(size - done));
    const size_t count = readFull(in, std::span{buffer_}.first(want), name);
    writeAll(out, std::span<const std::byte>{buffer_}.first(count), name);
    done += static_cast<off_t>(count);
    if (count < want) break;
  }
  return done;
}

// Holes stay holes (lseek(2), SEEK_DATA).
void FolderDestination::copySparse(int in, int out, off_t size, const std::string& name) {
  for (off_t at = 0; at < size;) {
    const off_t data = ::lseek(in, at, SEEK_DATA);
    if (data < 0) break;  // ENXIO: only a hole is left
    const off_t hole = std::min(::lseek(in, data, SEEK_HOLE), size);
    sys::check([&] { return ::lseek(in, data, SEEK_SET); }, "seek in {}", name);
    sys::check([&] { return ::lseek(out, data, SEEK_SET); }, "seek in {}", name);
    if (copyRange(in, out, hole - data, name) < hole - data) throw changed(name);
    at = hole;
  }
  sys::ftruncate(out, size);
}

void FolderDestination::addRegular(int toDir, const std::string& toName, const CopyFile& file,
                                   const CopyMeta& meta) {
  const struct stat& st = file.st;
  const Fd in = file.name.empty()
                    ? sys::reopen(file.dir, O_RDONLY | O_NONBLOCK)
                    : sys::openat(file.dir, file.name, O_RDONLY | O_NONBLOCK | O_NOFOLLOW);
  // Most files are new and get their mode at birth: the cheap way first.
  constexpr int kFlags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW;
  const mode_t mode = meta.mode & 0777;
  Fd out{::openat(toDir, toName.c_str(), kFlags | O_CLOEXEC, mode)};
  if (!out) {
    makeRoom(toDir, toName);
    out = sys::openat(toDir, toName, kFlags, mode);
  }
  const bool isSparse = st.st_blocks * 512 < st.st_size;
  if (isSparse) {
    copySparse(in.get(), out.get(), st.st_size, toName);
  } else if (copyRange(in.get(), out.get(), st.st_size, toName) < st.st_size) {
    throw changed(toName);
  }
  setOwnerAndMode(out.get(), meta);
  copyXattrs(in.get(), out.get());
  sys::futimens(out.get(), meta.mtime, meta.mtime);
  if (st.st_nlink > 1) links_.emplace(std::pair{st.st_dev, st.st_ino}, firstCopy(out.get(), toDir));
}

}  // namespace img::builder
