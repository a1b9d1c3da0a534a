#include "store/tree_merge.h"

#include <linux/magic.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <iterator>
#include <string_view>

#include "base/error.h"
#include "base/fs.h"
#include "base/sys.h"
#include "base/text.h"
#include "store/owners.h"
#include "store/tree_copy.h"

namespace img::store {
namespace {

constexpr char kCapability[] = "security.capability";
#ifndef MQUEUE_MAGIC
constexpr long kMqueueMagic = 0x19800202;
#else
constexpr long kMqueueMagic = MQUEUE_MAGIC;
#endif

bool isKernelFile(int fd) {
  const auto type = sys::fstatfs(fd, "a path in the container").f_type;
  return type == PROC_SUPER_MAGIC || type == SYSFS_MAGIC;
}

std::optional<Fd> tryOpenHandle(int dir, const std::string& name) {
  return sys::tryOpenat(dir, name, O_PATH | O_NOFOLLOW);
}

// Files of /proc say that they are empty: they are read to their end.
void copyToEnd(int from, int to) {
  char chunk[65536];
  for (;;) {
    const ssize_t count =
        sys::check([&] { return ::read(from, chunk, sizeof chunk); }, "read a file");
    if (count == 0) return;
    writeAll(to, std::string_view{chunk, static_cast<size_t>(count)}, "the copy");
  }
}

}  // namespace

bool isKernelFolder(int folder) {
  static constexpr long kTypes[] = {PROC_SUPER_MAGIC,    SYSFS_MAGIC,        CGROUP_SUPER_MAGIC,
                                    CGROUP2_SUPER_MAGIC, DEVPTS_SUPER_MAGIC, kMqueueMagic};
  const auto type = static_cast<long>(sys::fstatfs(folder, "a folder").f_type);
  return std::find(std::begin(kTypes), std::end(kTypes), type) != std::end(kTypes);
}

void TreeMerger::copy(int source, const std::string& name) {
  object(source, top_, name, name);
}

void TreeMerger::copyContent(int source) {
  children(sys::openDirectory(source, ".").get(), top_, "");
}

void TreeMerger::children(int from, int to, const std::string& path) {
  for (const fs::Entry& entry : fs::listSorted(from)) {
    const auto handle = tryOpenHandle(from, entry.name);
    if (!handle) continue;  // removed meanwhile
    object(handle->get(), to, entry.name, path.empty() ? entry.name : path + "/" + entry.name);
  }
}

void TreeMerger::object(int handle, int to, const std::string& name, const std::string& path) try {
  const struct stat st = sys::fstat(handle);
  if (S_ISDIR(st.st_mode)) return folder(handle, st, to, name, path);
  if (st.st_nlink > 1 && linkToEarlier(st, to, name, path)) return;
  if (S_ISREG(st.st_mode)) return file(handle, st, to, name, path);
  return special(handle, st, to, name, path);
} catch (Error& error) {
  if (error.steps().empty()) error.during("copying {}", text::escape(path, 500));
  throw;
}

void TreeMerger::folder(int handle, const struct stat& st, int to, const std::string& name,
                        const std::string& path) {
  const auto old = sys::tryFstatat(to, name);
  if (old && !S_ISDIR(old->st_mode)) makeRoom(to, name, true, path);
  sys::tryMkdirat(to, name, 0700);
  const Fd target = sys::openat(to, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
  const Fd from = sys::openDirectory(handle, ".");
  if (!isKernelFolder(from.get())) children(from.get(), target.get(), path);
  setMeta(from.get(), target.get(), st);
}

void TreeMerger::file(int handle, const struct stat& st, int to, const std::string& name,
                      const std::string& path) {
  // The descriptor says what it is; only now is it opened, and it is still the same object.
  const Fd from = sys::reopen(handle, O_RDONLY | O_NONBLOCK);
  const Fd target = createFile(to, name, path);
  if (isKernelFile(target.get())) {
    throw Error::make(Kind::denied, "{} is part of /proc or /sys and is not written to",
                      text::escape(path, 500));
  }
  copyFileData(from.get(), target.get(), st.st_size);
  if (st.st_size == 0 && isKernelFile(from.get())) copyToEnd(from.get(), target.get());
  setMeta(from.get(), target.get(), st);
  const struct stat made = sys::fstat(target.get());
  if (st.st_nlink > 1) {
    links_.try_emplace({st.st_dev, st.st_ino}, FirstCopy{path, made.st_dev, made.st_ino});
  }
}

// What the name had is replaced, never written through. A file that something is mounted on (the
// container's /etc/hosts) cannot be: it is written to, after a look at what it is.
Fd TreeMerger::createFile(int to, const std::string& name, const std::string& path) {
  constexpr int kNew = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW;
  try {
    makeRoom(to, name, false, path);
  } catch (const Error& error) {
    if (error.errnum() != EBUSY) throw;
    const Fd handle = sys::openat(to, name, O_PATH | O_NOFOLLOW);
    if (!S_ISREG(sys::fstat(handle.get()).st_mode)) throw;
    Fd mounted = sys::reopen(handle.get(), O_WRONLY);
    if (!isKernelFile(mounted.get())) sys::ftruncate(mounted.get(), 0);
    return mounted;
  }
  return sys::openat(to, name, kNew, 0600);
}

void TreeMerger::makeRoom(int to, const std::string& name, bool forFolder,
                          const std::string& path) {
  const auto old = sys::tryFstatat(to, name);
  if (!old) return;
  const bool isFolder = S_ISDIR(old->st_mode);
  if (isFolder == forFolder && isFolder) return;
  if (isFolder != forFolder && !options_.overwrite) {
    throw Error::make(Kind::failed, "cannot overwrite {} {} with {}",
                      isFolder ? "directory" : "non-directory", text::quote(path),
                      isFolder ? "a file" : "a directory")
        .hint("--overwrite replaces it");
  }
  if (isFolder) return fs::removeTree(to, name);
  sys::tryUnlinkat(to, name, 0);
}

void TreeMerger::special(int handle, const struct stat& st, int to, const std::string& name,
                         const std::string& path) {
  const bool isDevice = S_ISCHR(st.st_mode) || S_ISBLK(st.st_mode);
  if (S_ISSOCK(st.st_mode) || (isDevice && options_.isUntrusted)) {
    skipped_.push_back(path + (isDevice ? ": a device" : ": a socket"));
    return;
  }
  makeRoom(to, name, false, path);
  if (S_ISLNK(st.st_mode)) {
    sys::symlinkat(sys::readlinkat(handle, ""), to, name);
  } else {
    sys::mknodat(to, name, (st.st_mode & S_IFMT) | 0600, st.st_rdev);
  }
  // What is there now may be somebody else's already: the descriptor decides.
  const auto made = tryOpenHandle(to, name);
  if (!made || (sys::fstat(made->get()).st_mode & S_IFMT) != (st.st_mode & S_IFMT)) return;
  const auto [uid, gid] = options_.owner.value_or(std::pair{st.st_uid, st.st_gid});
  giveEntry(to, name, uid, gid);  // follows nothing
  if (!S_ISLNK(st.st_mode)) sys::fchmodat(AT_FDCWD, sys::procPath(made->get()), modeOf(st));
  sys::utimensat(to, name, st.st_atim, st.st_mtim);
}

bool TreeMerger::linkToEarlier(const struct stat& st, int to, const std::string& name,
                               const std::string& path) {
  const auto known = links_.find({st.st_dev, st.st_ino});
  if (known == links_.end()) return false;
  try {
    const Fd first = sys::openBeneath(top_, known->second.path, O_PATH | O_NOFOLLOW);
    const struct stat made = sys::fstat(first.get());
    if (made.st_dev != known->second.device || made.st_ino != known->second.inode) return false;
    makeRoom(to, name, false, path);
    sys::linkat(AT_FDCWD, sys::procPath(first.get()), to, name, AT_SYMLINK_FOLLOW);
    return true;
  } catch (const Error& error) {
    // Moved away by somebody, or on another file system (a volume): a copy of its own.
    if (error.errnum() == EXDEV || error.errnum() == ENOENT || error.errnum() == ELOOP)
      return false;
    throw;
  }
}

mode_t TreeMerger::modeOf(const struct stat& st) const {
  const bool mayLose = options_.isUntrusted && options_.owner && !S_ISDIR(st.st_mode);
  return st.st_mode & (mayLose ? 01777U : 07777U);
}

// Owner first: chown(2) clears the setuid bits and file capabilities that follow.
void TreeMerger::setMeta(int source, int target, const struct stat& st) const {
  const auto [uid, gid] = options_.owner.value_or(std::pair{st.st_uid, st.st_gid});
  const struct stat made = sys::fstat(target);
  if (made.st_uid != uid || made.st_gid != gid) giveFile(target, uid, gid);
  sys::fchmod(target, modeOf(st));
  const bool keepsRights = !options_.isUntrusted || !options_.owner;
  if (keepsRights && S_ISREG(st.st_mode)) {
    if (const auto value = sys::fgetxattr(source, kCapability)) {
      sys::fsetxattr(target, kCapability, *value);
    }
  }
  sys::futimens(target, st.st_atim, st.st_mtim);
}

}  // namespace img::store
