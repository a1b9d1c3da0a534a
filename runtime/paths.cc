#include "runtime/paths.h"

#include <linux/magic.h>
#include <sys/vfs.h>

#include <cerrno>

#include "base/sys.h"
#include "base/text.h"

namespace img::runtime {
namespace {

std::string joinFirst(const std::vector<std::string>& parts, size_t count) {
  std::string joined;
  for (size_t i = 0; i < count; ++i) joined += (i == 0 ? "" : "/") + parts[i];
  return joined.empty() ? "." : joined;
}

Error notAFolder(const std::string& path) {
  return Error::make(Kind::failed, "{} exists in the container and is not a folder",
                     text::quote(path));
}

Fd enterNewFolder(int parent, const std::string& name, mode_t mode, const std::string& path) {
  sys::tryMkdirat(parent, name, mode);
  // O_NOFOLLOW: a dangling link in the middle is an error, not a place to create (security.md R3).
  std::optional<Fd> folder = sys::tryOpenat(parent, name, O_PATH | O_DIRECTORY | O_NOFOLLOW);
  if (!folder) throw notAFolder(path);
  return std::move(*folder);
}

Fd createFile(int parent, const std::string& name, const std::string& path) {
  // O_NOFOLLOW with O_EXCL: never an existing object, never through a dangling link.
  const Fd created{sys::check(
      [&] {
        return ::openat(parent, name.c_str(),
                        O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC | O_NOCTTY, 0644);
      },
      "create the mount point {}", path)};
  return sys::openat(parent, name, O_PATH | O_NOFOLLOW);
}

}  // namespace

std::vector<std::string> pathParts(std::string_view path) {
  std::vector<std::string> parts;
  for (std::string& part : text::split(path, '/')) {
    if (part.empty() || part == ".") continue;
    if (part == "..") {
      if (!parts.empty()) parts.pop_back();
    } else {
      parts.push_back(std::move(part));
    }
  }
  return parts;
}

std::string cleanPath(std::string_view path) {
  return "/" + text::join(pathParts(path), "/");
}

Fd makeDirsInRoot(int root, std::string_view path, mode_t mode) {
  const std::vector<std::string> parts = pathParts(path);
  size_t have = parts.size();
  std::optional<Fd> folder;
  while (!(folder = sys::tryOpenInRoot(root, joinFirst(parts, have), O_PATH | O_DIRECTORY))) {
    if (have == 0) throw notAFolder("/");
    --have;
  }
  for (; have < parts.size(); ++have) {
    folder = enterNewFolder(folder->get(), parts[have], mode, "/" + joinFirst(parts, have + 1));
  }
  return std::move(*folder);
}

Fd openRealFolder(int root, const std::string& name) {
  for (int attempt = 0;; ++attempt) {
    const int fd = ::openat(root, name.c_str(), O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd >= 0) return Fd{fd};
    if (errno == ENOENT && attempt == 0) {
      sys::tryMkdirat(root, name, 0755);
      continue;
    }
    const int errnum = errno;
    const std::optional<struct stat> info = sys::tryFstatat(root, name);
    if (info && S_ISLNK(info->st_mode)) {
      throw Error::make(Kind::denied, "/{} in the image is a symbolic link", name)
          .hint(
              "a mount through it could reach files of the host; the image must have a real folder "
              "there");
    }
    throw Error::fromErrno(errnum, fmt::format("open the folder /{} of the image", name));
  }
}

bool isOnProcOrSys(int fd) {
  const auto type = sys::fstatfs(fd, "a path in the container").f_type;
  return type == PROC_SUPER_MAGIC || type == SYSFS_MAGIC;
}

Fd openMountTarget(int root, std::string_view path, bool isFolder) {
  const std::vector<std::string> parts = pathParts(path);
  const std::string shown = cleanPath(path);
  if (parts.empty()) throw Error{Kind::usage, "cannot mount on / of the container"};
  const int kind = isFolder ? O_DIRECTORY : 0;
  std::optional<Fd> target =
      sys::tryOpenInRoot(root, joinFirst(parts, parts.size()), O_PATH | kind);
  if (!target) {
    const Fd parent = makeDirsInRoot(root, joinFirst(parts, parts.size() - 1));
    if (isOnProcOrSys(parent.get()))
      throw Error::make(Kind::usage, "cannot mount on {}: it is part of /proc or /sys", shown);
    target = isFolder ? enterNewFolder(parent.get(), parts.back(), 0755, shown)
                      : createFile(parent.get(), parts.back(), shown);
  }
  const struct stat info = sys::fstat(target->get());
  if (S_ISDIR(info.st_mode) != isFolder) {
    throw Error::make(Kind::usage, "cannot mount a {} on {}, which is {} folder",
                      isFolder ? "folder" : "file", shown, isFolder ? "not a" : "a");
  }
  if (isOnProcOrSys(target->get())) {
    throw Error::make(Kind::usage, "cannot mount on {}: it is part of /proc or /sys", shown);
  }
  const struct stat top = sys::fstat(root);
  if (info.st_dev == top.st_dev && info.st_ino == top.st_ino) {
    throw Error::make(Kind::usage, "cannot mount on {}: it is the root of the container", shown);
  }
  return std::move(*target);
}

}  // namespace img::runtime
