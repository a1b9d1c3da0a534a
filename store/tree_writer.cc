#include "store/tree_writer.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <deque>

#include "base/error.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/sys.h"
#include "base/text.h"
#include "store/owners.h"
#include "store/whiteout.h"

namespace img::store {
namespace {

constexpr char kDefaultAcl[] = "system.posix_acl_default";
constexpr size_t kMaxDeferred = size_t{16} << 20;
constexpr int kMaxLinks = 40;  // as the kernel, path_resolution(7)

constexpr timespec kKeepTime{0, UTIME_OMIT};

}  // namespace

TreeWriter::TreeWriter(int root, std::string base, Style style, std::string name)
    : root_(root),
      base_(std::move(base)),
      style_(style),
      name_(std::move(name)),
      space_(root, "unpack " + name_),
      ownUid_(::geteuid()),
      ownGid_(::getegid()) {}

TreeWriter::Place TreeWriter::split(const std::string& path) {
  const size_t slash = path.rfind('/');
  if (slash == std::string::npos) return {"", path};
  return {path.substr(0, slash), path.substr(slash + 1)};
}

std::string TreeWriter::full(const std::string& path) const {
  if (base_.empty()) return path;
  return path.empty() ? base_ : base_ + '/' + path;
}

void TreeWriter::refuse(const std::string& path, std::string_view what) const {
  throw Error::make(Kind::corrupt, "{}: entry {}: {}", name_, text::quote(path), what);
}

// --- Parents ---

int TreeWriter::enter(const std::string& parent) {
  if (currentFd_ && current_ == parent) return currentFd_.get();
  leave();
  const std::string path = full(parent);
  auto folder = tryOpenFolder(path);
  if (!folder) {
    makeParents(path);
    folder = tryOpenFolder(path);
    if (!folder) refuse(parent, "its folder cannot be made");
  }
  const struct stat st = sys::fstat(folder->get());
  currentMtime_ = st.st_mtim;
  currentIsSetgid_ = (st.st_mode & S_ISGID) != 0;
  current_ = parent;
  currentFd_ = std::move(*folder);
  return currentFd_.get();
}

void TreeWriter::leave() {
  if (!currentFd_) return;
  sys::futimens(currentFd_.get(), kKeepTime, currentMtime_);
  currentFd_.reset();
}

std::optional<Fd> TreeWriter::tryOpenFolder(const std::string& fullPath) const {
  try {
    return sys::tryOpenInRoot(root_, fullPath.empty() ? "." : fullPath, O_RDONLY | O_DIRECTORY);
  } catch (const Error& error) {
    if (error.errnum() != ELOOP) throw;
    refuse(fullPath, "a loop of symbolic links");
  }
}

// Component by component, links expanded by hand as if chrooted: what is missing is made where it
// would be.
void TreeWriter::makeParents(const std::string& fullPath) {
  struct Step {
    std::string name;
    bool isFromLink;
  };
  std::deque<Step> steps;
  for (std::string& part : text::split(fullPath, '/')) steps.push_back({std::move(part), false});
  std::vector<Fd> stack;
  stack.push_back(sys::openDirectory(root_, "."));
  int links = 0;
  while (!steps.empty()) {
    const Step step = std::move(steps.front());
    steps.pop_front();
    if (step.name.empty() || step.name == ".") continue;
    if (step.name == "..") {
      if (stack.size() > 1) stack.pop_back();
      continue;
    }
    const int dir = stack.back().get();
    const auto st = sys::tryFstatat(dir, step.name);
    if (st && S_ISLNK(st->st_mode)) {
      if (++links > kMaxLinks) refuse(fullPath, "a loop of symbolic links");
      const std::string target = sys::readlinkat(dir, step.name);
      if (target.starts_with('/')) stack.resize(1);
      const auto parts = text::split(target, '/');
      for (auto part = parts.rbegin(); part != parts.rend(); ++part)
        steps.push_front({*part, true});
    } else if (st && S_ISDIR(st->st_mode)) {
      stack.push_back(sys::openat(dir, step.name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
    } else {
      // R3: in a tree that has content, a dangling link is no place to create something.
      if (style_ == Style::archive && (st || step.isFromLink)) {
        refuse(fullPath,
               st ? "its folder is not a folder" : "its folder is a dangling symbolic link");
      }
      stack.push_back(makeParent(dir, step.name, fullPath));
    }
  }
}

Fd TreeWriter::makeParent(int dir, const std::string& name, const std::string& fullPath) {
  const struct stat outer = sys::fstat(dir);
  bool wasWhiteout = false;
  if (!sys::tryMkdirat(dir, name, 0700)) {
    wasWhiteout = clear(dir, name);
    sys::mkdirat(dir, name, 0700);
  }
  Fd folder = sys::openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
  log::debug("{}: folder {} has no entry of its own", name_, text::quote(fullPath));
  sys::fchown(folder.get(), 0, 0);
  sys::fchmod(folder.get(), 0755);
  if (wasWhiteout) markOpaque(folder.get());
  // No clock in an unpacked layer: it depends on the archive alone.
  if (style_ == Style::layer) sys::futimens(folder.get(), kKeepTime, {0, 0});
  sys::futimens(dir, kKeepTime, outer.st_mtim);
  return folder;
}

// --- Names ---

bool TreeWriter::clear(int dir, const std::string& name) {
  const auto st = sys::tryFstatat(dir, name);
  if (!st) return false;
  if (S_ISDIR(st->st_mode)) {
    fs::removeTree(dir, name);
    return false;
  }
  sys::unlinkat(dir, name, 0);
  return style_ == Style::layer && isWhiteoutDevice(*st);
}

bool TreeWriter::create(int dir, const std::string& name, const std::function<bool()>& make) {
  if (make()) return false;
  const bool wasWhiteout = clear(dir, name);
  if (!make())
    throw Error::make(Kind::failed, "{}: {} cannot be replaced", name_, text::quote(name));
  return wasWhiteout;
}

// --- Attributes ---

// New things belong to us, unless the folder hands down its group.
bool TreeWriter::mustChown(const Meta& meta) const {
  return meta.uid != ownUid_ || meta.gid != ownGid_ || currentIsSetgid_;
}

void TreeWriter::giveTo(int dir, const std::string& name, const Meta& meta) const {
  if (name.empty()) {
    giveFile(dir, meta.uid, meta.gid);
  } else {
    giveEntry(dir, name, meta.uid, meta.gid);
  }
}

// The order matters: chown clears setuid bits and capabilities, everything clears times (T12).
void TreeWriter::setMeta(int fd, const Meta& meta) {
  if (mustChown(meta)) giveTo(fd, "", meta);
  sys::fchmod(fd, meta.mode);
  if (!meta.xattrs.empty()) noteXattrs(writeXattrs(fd, meta.xattrs));
  sys::futimens(fd, kKeepTime, meta.mtime);
}

void TreeWriter::noteXattrs(bool complete) {
  if (complete || std::exchange(warnedXattrs_, true)) return;
  log::warn("{}: some extended attributes could not be set here and are left out", name_);
}

void TreeWriter::putFolder(const std::string& path, const Meta& meta) {
  Fd folder;
  bool isNew = false;
  bool wasWhiteout = false;
  if (path.empty()) {
    leave();
    folder = sys::openInRoot(root_, base_.empty() ? "." : base_, O_RDONLY | O_DIRECTORY);
  } else {
    const Place place = split(path);
    const int dir = enter(place.parent);
    isNew = sys::tryMkdirat(dir, place.name, 0700);
    if (!isNew && !S_ISDIR(sys::fstatat(dir, place.name).st_mode)) {
      wasWhiteout = clear(dir, place.name);
      sys::mkdirat(dir, place.name, 0700);
      isNew = true;
    }
    folder = sys::openat(dir, place.name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
  }
  if (wasWhiteout) markOpaque(folder.get());
  Meta now = meta;
  if (const auto acl = now.xattrs.extract(kDefaultAcl); !acl.empty()) {
    defaultAclBytes_ += path.size() + acl.mapped().size() + 128;
    if (defaultAclBytes_ > kMaxDeferred) refuse(path, "too many folders with a default ACL");
    defaultAcls_.emplace_back(path, acl.mapped());
  }
  if (!isNew) giveTo(folder.get(), "", now);
  setMeta(folder.get(), now);
}

void TreeWriter::putFile(const std::string& path, const Meta& meta, const TarEntry& entry,
                         TarReader& data) {
  const Place place = split(path);
  const int dir = enter(place.parent);
  Fd file;
  create(dir, place.name, [&] {
    file = Fd{::openat(dir, place.name.c_str(),
                       O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600)};
    if (!file && errno != EEXIST) throw Error::fromErrno(errno, "create " + text::quote(path));
    return static_cast<bool>(file);
  });
  writeData(file.get(), entry, data);
  setMeta(file.get(), meta);
  file.close(path);  // some file systems report a full disk only here
}

void TreeWriter::writeData(int file, const TarEntry& entry, TarReader& data) {
  space_.use(entry.size);
  if (!entry.sparse) {
    for (auto piece = data.readPiece(); !piece.empty(); piece = data.readPiece())
      writeAll(file, piece, entry.path);
    return;
  }
  sys::ftruncate(file, static_cast<off_t>(entry.size));
  std::span<const std::byte> piece;
  for (const auto& extent : entry.extents) {
    sys::check([&] { return ::lseek(file, static_cast<off_t>(extent.offset), SEEK_SET); },
               "seek in {}", entry.path);
    for (std::uint64_t left = extent.length; left > 0;) {
      if (piece.empty()) piece = data.readPiece();
      const size_t count = static_cast<size_t>(std::min<std::uint64_t>(left, piece.size()));
      writeAll(file, piece.first(count), entry.path);
      piece = piece.subspan(count);
      left -= count;
    }
  }
}

void TreeWriter::putSymlink(const std::string& path, const Meta& meta, const std::string& target) {
  const Place place = split(path);
  const int dir = enter(place.parent);
  create(dir, place.name, [&] {
    if (::symlinkat(target.c_str(), dir, place.name.c_str()) == 0) return true;
    if (errno != EEXIST) throw Error::fromErrno(errno, "create symbolic link " + text::quote(path));
    return false;
  });
  if (mustChown(meta)) giveTo(dir, place.name, meta);
  sys::utimensat(dir, place.name, kKeepTime, meta.mtime);
}

void TreeWriter::putNode(const std::string& path, const Meta& meta, mode_t type, dev_t device) {
  const Place place = split(path);
  const int dir = enter(place.parent);
  Meta actual = meta;
  create(dir, place.name, [&] {
    if (::mknodat(dir, place.name.c_str(), type | 0600, device) == 0) return true;
    if (errno == EPERM && type != S_IFIFO) {
      // T6: without privilege there are no devices; an empty file without rights stands in.
      if (!std::exchange(warnedDevices_, true))
        log::warn("{}: devices become empty files here", name_);
      actual.mode = 0;
      return ::mknodat(dir, place.name.c_str(), S_IFREG, 0) == 0;
    }
    if (errno != EEXIST) throw Error::fromErrno(errno, "create " + text::quote(path));
    return false;
  });
  if (mustChown(meta)) giveTo(dir, place.name, meta);
  // Devices and FIFOs are never opened; their O_PATH descriptor's name in /proc stands for exactly
  // this inode.
  const Fd node = sys::openat(dir, place.name, O_PATH | O_NOFOLLOW);
  sys::fchmodat(AT_FDCWD, sys::procPath(node.get()), actual.mode);
  noteXattrs(writeXattrsAt(dir, place.name, actual.xattrs));
  sys::utimensat(dir, place.name, kKeepTime, actual.mtime);
}

void TreeWriter::putLink(const std::string& path, const std::string& target) {
  const Place from = split(target);
  const auto targetDir = tryOpenFolder(full(from.parent));
  const auto file =
      targetDir ? sys::tryOpenat(targetDir->get(), from.name, O_PATH | O_NOFOLLOW) : std::nullopt;
  if (!file) refuse(path, "hard link to " + text::quote(target) + ", which does not exist");
  const struct stat st = sys::fstat(file->get());
  if (S_ISDIR(st.st_mode)) refuse(path, "hard link to a folder");
  if (isWhiteoutDevice(st))
    refuse(path, "hard link to " + text::quote(target) + ", which does not exist");

  const Place place = split(path);
  const int dir = enter(place.parent);
  if (const auto old = sys::tryFstatat(dir, place.name)) {
    if (old->st_dev == st.st_dev && old->st_ino == st.st_ino) return;
    clear(dir, place.name);
  }
  // From the descriptor; where that needs a capability (before Linux 6.10), by the descriptor's
  // name in /proc.
  if (::linkat(file->get(), "", dir, place.name.c_str(), AT_EMPTY_PATH) == 0) return;
  sys::linkat(AT_FDCWD, sys::procPath(file->get()), dir, place.name, AT_SYMLINK_FOLLOW);
}

void TreeWriter::putWhiteout(const std::string& parent, const std::string& name) {
  const int dir = enter(parent);
  const auto st = sys::tryFstatat(dir, name);
  if (!st) return makeWhiteout(dir, name);
  // The layer has the name itself, which hides what is below; only a folder would be merged with
  // it.
  if (S_ISDIR(st->st_mode))
    markOpaque(sys::openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW).get());
}

void TreeWriter::putOpaque(const std::string& folder) {
  markOpaque(enter(folder));
}

void TreeWriter::finish() {
  leave();
  for (const auto& [path, acl] : defaultAcls_) {
    const Fd folder = sys::openInRoot(root_, path.empty() && base_.empty() ? "." : full(path),
                                      O_RDONLY | O_DIRECTORY);
    noteXattrs(writeXattrs(folder.get(), {{kDefaultAcl, acl}}));
  }
}

}  // namespace img::store
