#include "store/tree_copy.h"

#include <unistd.h>

#include <map>
#include <string>
#include <utility>

#include "base/fs.h"
#include "base/interruption.h"
#include "base/sys.h"
#include "store/owners.h"

namespace img::store {
namespace {

void copyXattrs(int from, int to) {
  for (const std::string& name : sys::flistxattr(from)) {
    // Overlay's own marks say something about the folder they came from, not about its content.
    if (name.starts_with("trusted.overlay.") || name.starts_with("user.overlay.")) continue;
    if (isOwnerXattr(name)) continue;  // of the owners, with them
    if (const auto value = sys::fgetxattr(from, name)) sys::fsetxattr(to, name, *value);
  }
}

void copyRange(int from, int to, off_t begin, off_t end) {
  while (begin < end) {
    off_t target = begin;
    const auto count = static_cast<size_t>(end - begin);
    const ssize_t copied = ::copy_file_range(from, &begin, to, &target, count, 0);
    if (copied > 0) continue;
    if (copied == 0) return;  // the source became shorter meanwhile
    // EXDEV, EINVAL, ENOSYS: file systems that cannot (copy_file_range(2)).
    char buffer[65536];
    const ssize_t got =
        sys::check([&] { return ::pread(from, buffer, std::min(sizeof buffer, count), begin); },
                   "read a file");
    if (got == 0) return;
    for (ssize_t done = 0; done < got;) {
      done += sys::check(
          [&] {
            return ::pwrite(to, buffer + done, static_cast<size_t>(got - done), begin + done);
          },
          "write a file");
    }
    begin += got;
  }
}

void copyFile(int from, const std::string& name, const struct stat& st, int to,
              const std::string& newName) {
  const Fd source = sys::openat(from, name, O_RDONLY | O_NOFOLLOW);
  const Fd target = sys::openat(to, newName, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0600);
  copyFileData(source.get(), target.get(), st.st_size);
  copyMetadata(source.get(), target.get(), st);
}

// `st` has the owner that the copy gets.
void copyObjectAs(int from, const std::string& name, const struct stat& st, int to,
                  const std::string& newName) {
  if (S_ISREG(st.st_mode)) return copyFile(from, name, st, to, newName);
  if (S_ISLNK(st.st_mode)) {
    sys::symlinkat(sys::readlinkat(from, name), to, newName);
  } else {
    sys::mknodat(to, newName, st.st_mode, st.st_rdev);
  }
  giveEntry(to, newName, st.st_uid, st.st_gid);
  // mknod(2) applies the umask; links have no mode. Nobody else knows this new folder.
  if (!S_ISLNK(st.st_mode)) sys::fchmodat(to, newName, st.st_mode & 07777);
  sys::utimensat(to, newName, st.st_atim, st.st_mtim);
}

class Copier {
 public:
  explicit Copier(int top) : top_(top) {}

  void folder(int from, int to, const std::string& path) {
    for (const fs::Entry& entry : fs::list(from)) {
      const std::string childPath = path.empty() ? entry.name : path + "/" + entry.name;
      try {
        child(from, to, entry.name, childPath);
      } catch (Error& error) {
        error.during("copying {}", childPath);
        throw;
      }
    }
    struct stat st = sys::fstat(from);
    if (recordsOwners_) applyOwner(from, st);
    copyMetadata(from, to, st);
  }

 private:
  void child(int from, int to, const std::string& name, const std::string& path) {
    struct stat st = sys::fstatat(from, name);
    if (recordsOwners_) applyOwnerAt(from, name, st);
    if (S_ISSOCK(st.st_mode)) return;
    if (S_ISDIR(st.st_mode)) {
      sys::mkdirat(to, name, 0700);
      const Fd target = sys::openat(to, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
      folder(sys::openat(from, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW).get(), target.get(),
             path);
      return;
    }
    if (st.st_nlink > 1 && linkToEarlier(st, to, name, path)) return;
    copyObjectAs(from, name, st, to, name);
  }

  bool linkToEarlier(const struct stat& st, int to, const std::string& name,
                     const std::string& path) {
    const auto [known, isNew] = seen_.try_emplace({st.st_dev, st.st_ino}, path);
    if (!isNew) sys::linkat(top_, known->second, to, name, 0);
    return !isNew;
  }

  int top_;
  const bool recordsOwners_ = recordsOwners();
  std::map<std::pair<dev_t, ino_t>, std::string> seen_;
};

}  // namespace

// Owner first: chown(2) clears the setuid bits and file capabilities that follow.
void copyMetadata(int from, int to, const struct stat& st) {
  giveFile(to, st.st_uid, st.st_gid);
  sys::fchmod(to, st.st_mode & 07777);
  copyXattrs(from, to);
  sys::futimens(to, st.st_atim, st.st_mtim);
}

void copyFileData(int from, int to, off_t size) {
  sys::ftruncate(to, size);
  for (off_t at = 0; at < size;) {
    throwIfInterrupted();
    const off_t data = ::lseek(from, at, SEEK_DATA);
    if (data < 0 && errno == ENXIO) return;  // only a hole is left
    const off_t begin = data < 0 ? at : data;
    const off_t hole = data < 0 ? size : ::lseek(from, begin, SEEK_HOLE);
    const off_t end = hole < 0 ? size : hole;
    copyRange(from, to, begin, end);
    at = end;
  }
}

void copyObject(int from, const std::string& name, int to, const std::string& newName) {
  struct stat st = sys::fstatat(from, name);
  if (recordsOwners()) applyOwnerAt(from, name, st);
  copyObjectAs(from, name, st, to, newName);
}

void copyTree(int from, int to) {
  Copier{to}.folder(from, to, "");
}

}  // namespace img::store
