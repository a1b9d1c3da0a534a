#include "builder/copy_tree.h"

#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <tuple>

#include "base/fs.h"
#include "base/log.h"
#include "base/sys.h"
#include "base/text.h"
#include "builder/content_digest.h"
#include "store/owners.h"

namespace img::builder {
namespace {

constexpr size_t kBuffer = size_t{512} << 10;

bool endsAsFolder(const std::string& path) {
  return path.ends_with('/') || path.ends_with("/.");
}

std::string parentOf(const std::string& path) {
  const size_t slash = path.rfind('/');
  return slash == std::string::npos || slash == 0 ? "/" : path.substr(0, slash);
}

// Failures are ignored (3.8): the destination's file system may lack what the source's has.
void copyXattrs(int from, int to) {
  for (const std::string& name : sys::flistxattr(from)) {
    if (!isCopiedXattr(name)) continue;
    const auto value = sys::fgetxattr(from, name);
    if (value) ::fsetxattr(to, name.c_str(), value->data(), value->size(), 0);
  }
}

void setTimes(int fd, const struct stat& st) {
  sys::futimens(fd, st.st_mtim, st.st_mtim);
}

Error changed(const std::string& name) {
  return Error::make(Kind::failed, "file {} changed while it was read", text::quote(name));
}

}  // namespace

NewFolder CopyOptions::newFolder() const {
  NewFolder folder;
  if (mode && mode->octal()) folder.mode = *mode->octal();
  if (owner) std::tie(folder.uid, folder.gid) = *owner;
  return folder;
}

// A destination folder that comes into being when its first entry does (an excluded parent of a
// taken file).
struct TreeCopier::Target {
  Target* parent = nullptr;
  std::string name;
  Fd source;  // for the metadata
  Fd fd;      // empty until needed
};

void TreeCopier::copy(const Source& source, const std::string& destination,
                      const SourceFilter& filter) {
  links_.clear();
  const NewFolder missing = options_.newFolder();
  // Step 1: the folder that DEST names, or the one that holds it.
  std::ignore =
      makeFolders(root_, endsAsFolder(destination) ? destination : parentOf(destination), missing);
  struct stat st = sys::fstat(source.handle);
  if (recordsOwners_) store::applyOwner(source.handle, st);
  if (!S_ISDIR(st.st_mode)) {
    Place place = resolvePlace(root_, destination, missing);
    if (place.isFolder()) {
      const Fd folder =
          sys::openat(place.parent.get(), place.name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
      if (claim(folder.get(), source.name))
        copyEntry(source.handle, "", st, folder.get(), source.name);
    } else {
      if (claim(place.parent.get(), place.name))
        copyEntry(source.handle, "", st, place.parent.get(), place.name);
    }
    return;
  }
  Target top;
  top.fd = makeFolders(root_, destination, missing);
  goDirect(top.fd);
  const Fd from = sys::openDirectory(source.handle, ".");
  const std::string prefix = source.contextPath.empty() ? "" : source.contextPath + "/";
  copyChildren(from.get(), prefix, "", top, filter, filter.root(source.contextPath));
  setTimes(top.fd.get(), st);
}

void TreeCopier::copyWithParents(const Source& base, const std::string& destination,
                                 const SourceFilter& filter) {
  links_.clear();
  Target top;
  top.fd = makeFolders(root_, destination, options_.newFolder());
  goDirect(top.fd);
  const Fd from = sys::openDirectory(base.handle, ".");
  const std::string prefix = base.contextPath.empty() ? "" : base.contextPath + "/";
  copyChildren(from.get(), prefix, "", top, filter, filter.root(base.contextPath));
}

void TreeCopier::writeFile(const std::string& name, std::string_view content,
                           const std::string& destination) {
  const NewFolder missing = options_.newFolder();
  std::ignore =
      makeFolders(root_, endsAsFolder(destination) ? destination : parentOf(destination), missing);
  Place place = resolvePlace(root_, destination, missing);
  Fd folder = place.parent.duplicate();
  std::string target = place.name;
  if (place.isFolder()) {
    folder = sys::openat(place.parent.get(), place.name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
    target = name;
  }
  if (!claim(folder.get(), target)) return;
  makeRoom(folder.get(), target);
  const Fd file = sys::openat(folder.get(), target, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0600);
  writeAll(file.get(), content, target);
  const auto [uid, gid] = options_.owner.value_or(std::pair<uid_t, gid_t>{0, 0});
  store::giveFile(file.get(), uid, gid);
  sys::fchmod(file.get(), options_.mode ? options_.mode->apply(0644, false) : 0644);
}

// Where `name` in the folder `dir` lies for the user: below the root, or below the upper, which is
// the same place.
std::string TreeCopier::shownPath(int dir, const std::string& name) const {
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

bool TreeCopier::claim(int dir, const std::string& name) {
  const struct stat st = sys::fstat(dir);
  size_t& count = written_[{st.st_dev, st.st_ino, name}];
  if (++count == 1) return true;
  if (crowded_.empty()) {
    crowded_ = shownPath(dir, name);
    crowd_ = &count;
  }
  return false;
}

void TreeCopier::throwIfCrowded() const {
  if (crowded_.empty()) return;
  throw Error::make(Kind::failed, "{} files would be written to {}; end it with \"/\"", *crowd_,
                    crowded_);
}

void TreeCopier::copyChildren(int from, const std::string& contextPath, const std::string& path,
                              Target& to, const SourceFilter& filter,
                              const SourceFilter::State& state) {
  for (const fs::Entry& entry : fs::listSorted(from)) {
    auto st = sys::tryFstatat(from, entry.name);
    if (!st) continue;
    if (recordsOwners_) store::applyOwnerAt(from, entry.name, *st);
    const std::string below = path + entry.name;
    const bool isFolder = S_ISDIR(st->st_mode);
    const SourceFilter::Step step = filter.enter(state, contextPath + entry.name, below, isFolder);
    if (step.verdict == SourceFilter::Verdict::skip) continue;
    if (isFolder) {
      Target folder;
      folder.parent = &to;
      folder.name = entry.name;
      folder.source = sys::openat(from, entry.name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
      if (step.verdict == SourceFilter::Verdict::take) open(folder);
      copyChildren(folder.source.get(), contextPath + entry.name + "/", below + "/", folder, filter,
                   step.state);
      if (folder.fd) finishFolder(folder, *st);
      continue;
    }
    if (options_.isContext && isSpecial(st->st_mode)) {
      log::warn("{} is a {} and is left out of the copy", text::quote(below),
                typeName(st->st_mode));
      continue;
    }
    open(to);
    copyEntry(from, entry.name, *st, to.fd.get(), entry.name);
  }
}

void TreeCopier::finishFolder(const Target& target, const struct stat& st) const {
  setOwnerAndMode(target.fd.get(), st);
  copyXattrs(target.source.get(), target.fd.get());
  setTimes(target.fd.get(), st);  // after the children, whose creation changed it
}

// Makes the folder and, before it, the parents that were left open: the first entry that is taken
// needs them.
void TreeCopier::open(Target& target) const {
  if (target.fd) return;
  open(*target.parent);
  const int parent = target.parent->fd.get();
  if (!sys::tryMkdirat(parent, target.name, 0700)) {
    const struct stat old = sys::fstatat(parent, target.name);
    if (!S_ISDIR(old.st_mode)) {
      throw Error::make(Kind::failed, "{} exists and is not a directory (it is a {})",
                        shownPath(parent, target.name), typeName(old.st_mode));
    }
  }
  target.fd = sys::openat(parent, target.name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
  goDirect(target.fd);
}

// The object of the union as it lies in the upper: the kernel tells its path inside the detached
// mount.
std::optional<Fd> TreeCopier::openInUpper(int fd, int flags) const {
  const std::string path = sys::readlinkat(AT_FDCWD, sys::procPath(fd));
  if (upper_ < 0 || path.size() < 2 || path[0] != '/') return std::nullopt;
  return sys::tryOpenInRoot(upper_, path, flags | O_NOFOLLOW);
}

// A folder that lies in the upper alone (the union shows the inode number of the lowest one) is
// filled there. Nobody looks at it through the union before that is mounted anew, so nothing stale
// is seen.
void TreeCopier::goDirect(Fd& folder) const {
  if (upper_ < 0 || isInUpper(folder.get())) return;
  auto direct = openInUpper(folder.get(), O_RDONLY | O_DIRECTORY);
  if (!direct || sys::fstat(direct->get()).st_ino != sys::fstat(folder.get()).st_ino) return;
  folder = std::move(*direct);
}

void TreeCopier::makeRoom(int toDir, const std::string& name) const {
  const auto old = sys::tryFstatat(toDir, name);
  if (!old) return;
  if (S_ISDIR(old->st_mode))
    throw Error::make(Kind::failed, "{} exists and is a directory", shownPath(toDir, name));
  sys::unlinkat(toDir, name, 0);  // never written through
}

std::pair<uid_t, gid_t> TreeCopier::ownerOf(const struct stat& st) const {
  if (options_.owner) return *options_.owner;
  if (options_.isContext) return {0, 0};
  return {st.st_uid, st.st_gid};
}

mode_t TreeCopier::modeOf(const struct stat& st) const {
  const mode_t mode = (options_.hasGitPermissions ? gitMode(st.st_mode) : st.st_mode) & 07777;
  return options_.mode ? options_.mode->apply(mode, S_ISDIR(st.st_mode)) : mode;
}

// Only what differs is set: each change is a transaction of the file system's journal, a look is
// not.
void TreeCopier::setOwnerAndMode(int fd, const struct stat& st) const {
  struct stat made = sys::fstat(fd);
  if (recordsOwners_) store::applyOwner(fd, made);
  const auto [uid, gid] = ownerOf(st);
  const mode_t mode = modeOf(st);
  const bool isOthers = made.st_uid != uid || made.st_gid != gid;
  if (isOthers) store::giveFile(fd, uid, gid);
  // After the owner: chown(2) clears setuid.
  if (isOthers || (made.st_mode & 07777) != mode) sys::fchmod(fd, mode);
}

bool TreeCopier::linkIfKnown(const struct stat& st, int toDir, const std::string& toName) {
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

bool TreeCopier::isInUpper(int fd) const {
  return upper_ >= 0 && sys::fstat(fd).st_dev == sys::fstat(upper_).st_dev;
}

TreeCopier::FirstCopy TreeCopier::firstCopy(int file, int folder) const {
  FirstCopy copy{isInUpper(folder), sys::readlinkat(AT_FDCWD, sys::procPath(file))};
  // The root of a union is a mount of its own, where paths begin; a folder has one above it.
  const std::string base =
      sys::readlinkat(AT_FDCWD, sys::procPath(copy.isInUpper ? upper_ : root_));
  if (base != "/" && copy.path.starts_with(base + "/")) copy.path.erase(0, base.size());
  return copy;
}

// One name was made through the union, the other goes into the upper directly: both are in the
// upper.
void TreeCopier::linkInUpper(int file, int toDir, const std::string& toName) const {
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

// `name` is empty when `from` is the O_PATH descriptor of the entry itself.
void TreeCopier::copyEntry(int from, const std::string& name, const struct stat& st, int toDir,
                           const std::string& toName) {
  if (linkIfKnown(st, toDir, toName)) return;
  if (S_ISREG(st.st_mode)) {
    copyRegular(from, name, st, toDir, toName);
    return;
  }
  makeRoom(toDir, toName);
  const auto [uid, gid] = ownerOf(st);
  if (S_ISLNK(st.st_mode)) {
    sys::symlinkat(sys::readlinkat(from, name), toDir, toName);
  } else if (S_ISSOCK(st.st_mode)) {
    sys::mknodat(toDir, toName, S_IFREG | 0600,
                 0);  // a socket without its owner means nothing (3.8)
  } else {
    sys::mknodat(toDir, toName, (st.st_mode & S_IFMT) | 0600, st.st_rdev);
  }
  store::giveEntry(toDir, toName, uid, gid);
  if (!S_ISLNK(st.st_mode)) sys::fchmodat(toDir, toName, modeOf(st));
  sys::utimensat(toDir, toName, st.st_mtim, st.st_mtim);
}

// Up to `size` bytes from where both stand; returns how many there were.
off_t TreeCopier::copyRange(int in, int out, off_t size, const std::string& name) {
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
void TreeCopier::copySparse(int in, int out, off_t size, const std::string& name) {
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

void TreeCopier::copyRegular(int from, const std::string& name, const struct stat& st, int toDir,
                             const std::string& toName) {
  const Fd in = name.empty() ? sys::reopen(from, O_RDONLY | O_NONBLOCK)
                             : sys::openat(from, name, O_RDONLY | O_NONBLOCK | O_NOFOLLOW);
  // Most files are new and get their mode at birth: the cheap way first.
  constexpr int kFlags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW;
  const mode_t mode = modeOf(st) & 0777;
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
  setOwnerAndMode(out.get(), st);
  copyXattrs(in.get(), out.get());
  setTimes(out.get(), st);
  if (st.st_nlink > 1) links_.emplace(std::pair{st.st_dev, st.st_ino}, firstCopy(out.get(), toDir));
}

}  // namespace img::builder
