#include "base/sys.h"

#include <linux/close_range.h>
#include <linux/mount.h>
#include <linux/openat2.h>
#include <linux/sched.h>
#include <sched.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <csignal>
#include <cstring>
#include <ctime>

#include "base/own_namespace.h"

namespace img::sys {
namespace {

constexpr int kOpenFlags = O_CLOEXEC | O_NOCTTY;

int rawOpenat2(int dir, const std::string& path, int flags, mode_t mode, std::uint64_t resolve) {
  open_how how{};
  // openat2(2) refuses flags that mean nothing; O_PATH opens no terminal.
  how.flags = static_cast<std::uint64_t>(flags | ((flags & O_PATH) != 0 ? O_CLOEXEC : kOpenFlags));
  how.mode = (flags & (O_CREAT | O_TMPFILE)) != 0 ? mode : 0;
  how.resolve = resolve;
  // openat2(2): EAGAIN when a rename raced with ".."; documented as "try again".
  for (int attempt = 0;; ++attempt) {
    const long fd = ::syscall(SYS_openat2, dir, path.c_str(), &how, sizeof how);
    if (fd >= 0 || errno != EAGAIN || attempt >= 128) return static_cast<int>(fd);
  }
}

constexpr std::uint64_t kInRoot = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS;

bool isMissing(int errnum) {
  return errnum == ENOENT || errnum == ENOTDIR;
}

template <class Call>
std::optional<Fd> tryOpen(Call&& call, const std::string& path) {
  for (;;) {
    const int fd = call();
    if (fd >= 0) return Fd{fd};
    if (isMissing(errno)) return std::nullopt;
    if (errno != EINTR) throw Error::fromErrno(errno, fmt::format("open {}", path));
  }
}

}  // namespace

std::string procPath(int fd) {
  return fmt::format("/proc/self/fd/{}", fd);
}

Fd openat(int dir, const std::string& path, int flags, mode_t mode) {
  return Fd{check([&] { return ::openat(dir, path.c_str(), flags | kOpenFlags, mode); }, "open {}",
                  path)};
}

std::optional<Fd> tryOpenat(int dir, const std::string& path, int flags, mode_t mode) {
  return tryOpen([&] { return ::openat(dir, path.c_str(), flags | kOpenFlags, mode); }, path);
}

Fd openInRoot(int root, const std::string& path, int flags, mode_t mode) {
  return Fd{check([&] { return rawOpenat2(root, path, flags, mode, kInRoot); }, "open {}", path)};
}

std::optional<Fd> tryOpenInRoot(int root, const std::string& path, int flags, mode_t mode) {
  return tryOpen([&] { return rawOpenat2(root, path, flags, mode, kInRoot); }, path);
}

Fd openBeneath(int root, const std::string& path, int flags, mode_t mode) {
  constexpr std::uint64_t kBeneath = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS;
  return Fd{check([&] { return rawOpenat2(root, path, flags, mode, kBeneath); }, "open {}", path)};
}

Fd openDirectory(int dir, const std::string& path) {
  return openat(dir, path, O_RDONLY | O_DIRECTORY);
}

Fd reopen(int fd, int flags) {
  return Fd{check([&] { return ::open(procPath(fd).c_str(), flags | kOpenFlags); },
                  "reopen a descriptor")};
}

struct stat fstat(int fd) {
  struct stat st {};
  check([&] { return ::fstat(fd, &st); }, "stat a descriptor");
  return st;
}

struct stat fstatat(int dir, const std::string& path) {
  struct stat st {};
  check([&] { return ::fstatat(dir, path.c_str(), &st, AT_SYMLINK_NOFOLLOW); }, "stat {}", path);
  return st;
}

std::optional<struct stat> tryFstatat(int dir, const std::string& path) {
  struct stat st {};
  if (::fstatat(dir, path.c_str(), &st, AT_SYMLINK_NOFOLLOW) == 0) return st;
  if (isMissing(errno)) return std::nullopt;
  throw Error::fromErrno(errno, fmt::format("stat {}", path));
}

void mkdirat(int dir, const std::string& path, mode_t mode) {
  check([&] { return ::mkdirat(dir, path.c_str(), mode); }, "create folder {}", path);
}

bool tryMkdirat(int dir, const std::string& path, mode_t mode) {
  if (::mkdirat(dir, path.c_str(), mode) == 0) return true;
  if (errno == EEXIST) return false;
  throw Error::fromErrno(errno, fmt::format("create folder {}", path));
}

void symlinkat(const std::string& target, int dir, const std::string& path) {
  check([&] { return ::symlinkat(target.c_str(), dir, path.c_str()); }, "create symbolic link {}",
        path);
}

void linkat(int oldDir, const std::string& oldPath, int newDir, const std::string& newPath,
            int flags) {
  check([&] { return ::linkat(oldDir, oldPath.c_str(), newDir, newPath.c_str(), flags); },
        "create hard link {}", newPath);
}

void mknodat(int dir, const std::string& path, mode_t mode, dev_t device) {
  check([&] { return ::mknodat(dir, path.c_str(), mode, device); }, "create node {}", path);
}

void unlinkat(int dir, const std::string& path, int flags) {
  check([&] { return ::unlinkat(dir, path.c_str(), flags); }, "remove {}", path);
}

bool tryUnlinkat(int dir, const std::string& path, int flags) {
  if (::unlinkat(dir, path.c_str(), flags) == 0) return true;
  if (errno == ENOENT) return false;
  throw Error::fromErrno(errno, fmt::format("remove {}", path));
}

void renameat(int oldDir, const std::string& oldPath, int newDir, const std::string& newPath) {
  check([&] { return ::renameat(oldDir, oldPath.c_str(), newDir, newPath.c_str()); },
        "rename {} to {}", oldPath, newPath);
}

bool renameNoReplace(int oldDir, const std::string& oldPath, int newDir,
                     const std::string& newPath) {
  for (;;) {
    if (::renameat2(oldDir, oldPath.c_str(), newDir, newPath.c_str(), RENAME_NOREPLACE) == 0)
      return true;
    if (errno == EEXIST || errno == ENOTEMPTY) return false;
    if (errno != EINTR) {
      throw Error::fromErrno(errno, fmt::format("rename {} to {}", oldPath, newPath));
    }
  }
}

std::string readlinkat(int dir, const std::string& path) {
  std::string target(256, '\0');
  for (;;) {
    const auto length = static_cast<size_t>(
        check([&] { return ::readlinkat(dir, path.c_str(), target.data(), target.size()); },
              "read link {}", path));
    if (length < target.size()) {
      target.resize(length);
      return target;
    }
    target.resize(target.size() * 2);
  }
}

void fchmod(int fd, mode_t mode) {
  check([&] { return ::fchmod(fd, mode); }, "change the mode of a file");
}
void fchmodat(int dir, const std::string& path, mode_t mode) {
  check([&] { return ::fchmodat(dir, path.c_str(), mode, 0); }, "change the mode of {}", path);
}
void fchown(int fd, uid_t uid, gid_t gid) {
  check([&] { return ::fchown(fd, uid, gid); }, "change the owner of a file to {}:{}", uid, gid);
}
void lchownat(int dir, const std::string& path, uid_t uid, gid_t gid) {
  check([&] { return ::fchownat(dir, path.c_str(), uid, gid, AT_SYMLINK_NOFOLLOW); },
        "change the owner of {} to {}:{}", path, uid, gid);
}

void utimensat(int dir, const std::string& path, const timespec& atime, const timespec& mtime) {
  const timespec times[2] = {atime, mtime};
  check([&] { return ::utimensat(dir, path.c_str(), times, AT_SYMLINK_NOFOLLOW); },
        "set the times of {}", path);
}
void futimens(int fd, const timespec& atime, const timespec& mtime) {
  const timespec times[2] = {atime, mtime};
  check([&] { return ::futimens(fd, times); }, "set the times of a file");
}

void ftruncate(int fd, off_t size) {
  check([&] { return ::ftruncate(fd, size); }, "set the size of a file to {}", size);
}
void fsync(int fd, std::string_view what) {
  check([&] { return ::fsync(fd); }, "sync {}", what);
}
void fdatasync(int fd, std::string_view what) {
  check([&] { return ::fdatasync(fd); }, "sync {}", what);
}
void syncfs(int fd, std::string_view what) {
  check([&] { return ::syncfs(fd); }, "sync {}", what);
}

std::vector<std::string> flistxattr(int fd) {
  char small[1024];
  ssize_t size = ::flistxattr(fd, small, sizeof small);
  std::string large;
  const char* data = small;
  if (size < 0 && errno == ERANGE) {
    large.resize(size_t{64} << 10);  // XATTR_LIST_MAX, xattr(7)
    size = ::flistxattr(fd, large.data(), large.size());
    data = large.data();
  }
  if (size < 0) {
    if (errno == EOPNOTSUPP) return {};
    throw Error::fromErrno(errno, "list extended attributes");
  }
  std::vector<std::string> names;
  for (ssize_t at = 0; at < size;) {
    names.emplace_back(data + at);
    at += static_cast<ssize_t>(names.back().size()) + 1;
  }
  return names;
}

std::optional<std::string> fgetxattr(int fd, const std::string& name) {
  std::string value(256, '\0');
  for (;;) {
    const ssize_t size = ::fgetxattr(fd, name.c_str(), value.data(), value.size());
    if (size >= 0) {
      value.resize(static_cast<size_t>(size));
      return value;
    }
    if (errno == ENODATA || errno == EOPNOTSUPP) return std::nullopt;
    if (errno != ERANGE || value.size() > (size_t{64} << 10)) {
      throw Error::fromErrno(errno, fmt::format("read extended attribute {}", name));
    }
    value.resize((size_t{64} << 10) + 1);
  }
}

void fsetxattr(int fd, const std::string& name, std::string_view value) {
  check([&] { return ::fsetxattr(fd, name.c_str(), value.data(), value.size(), 0); },
        "set extended attribute {}", name);
}

void mount(const char* source, const std::string& target, const char* type, unsigned long flags,
           const char* data) {
  check([&] { return ::mount(source, target.c_str(), type, flags, data); }, "mount {} on {}",
        type != nullptr ? type : (source != nullptr ? source : "(flags)"), target);
}
void umount2(const std::string& target, int flags) {
  check([&] { return ::umount2(target.c_str(), flags); }, "unmount {}", target);
}

Fd fsopen(const std::string& type) {
  return Fd{
      static_cast<int>(check([&] { return ::syscall(SYS_fsopen, type.c_str(), FSOPEN_CLOEXEC); },
                             "open file system {}", type))};
}

namespace {

long rawFsconfig(int fs, unsigned command, const char* key, const void* value) {
  return ::syscall(SYS_fsconfig, fs, command, key, value, 0);
}

// The kernel explains itself in the context's message queue: lines "e overlay: ..." (fsopen(2)).
std::string fsMessages(int fs) {
  std::string all;
  char line[1024];
  for (ssize_t size; (size = ::read(fs, line, sizeof line)) > 0;) {
    if (!all.empty()) all += "; ";
    std::string_view text{line, static_cast<size_t>(size)};
    if (text.size() > 2 && text[1] == ' ') text.remove_prefix(2);
    while (!text.empty() && text.back() == '\n') text.remove_suffix(1);
    all += text;
  }
  return all;
}

Error fsconfigError(int fs, int errnum, std::string_view action) {
  Error error = Error::fromErrno(errnum, action);
  const std::string messages = fsMessages(fs);
  if (!messages.empty()) error.why(messages);
  return error;
}

}  // namespace

void fsconfigString(int fs, const std::string& key, const std::string& value) {
  if (rawFsconfig(fs, FSCONFIG_SET_STRING, key.c_str(), value.c_str()) < 0) {
    throw fsconfigError(fs, errno, fmt::format("set mount option {}={}", key, value));
  }
}

bool tryFsconfigString(int fs, const std::string& key, const std::string& value) {
  if (rawFsconfig(fs, FSCONFIG_SET_STRING, key.c_str(), value.c_str()) == 0) return true;
  if (errno == EINVAL) return false;
  throw fsconfigError(fs, errno, fmt::format("set mount option {}={}", key, value));
}

void fsconfigFlag(int fs, const std::string& key) {
  if (rawFsconfig(fs, FSCONFIG_SET_FLAG, key.c_str(), nullptr) < 0) {
    throw fsconfigError(fs, errno, fmt::format("set mount option {}", key));
  }
}

void fsconfigCreate(int fs, std::string_view what) {
  if (rawFsconfig(fs, FSCONFIG_CMD_CREATE, nullptr, nullptr) < 0) {
    throw fsconfigError(fs, errno, fmt::format("mount {}", what));
  }
}

Fd fsmount(int fs, unsigned attributes) {
  return Fd{static_cast<int>(check(
      [&] { return ::syscall(SYS_fsmount, fs, FSMOUNT_CLOEXEC, attributes); }, "make a mount"))};
}

Fd openTree(int dir, const std::string& path, unsigned flags) {
  const unsigned all = flags | OPEN_TREE_CLOEXEC | (path.empty() ? unsigned{AT_EMPTY_PATH} : 0U);
  return Fd{static_cast<int>(check([&] { return ::syscall(SYS_open_tree, dir, path.c_str(), all); },
                                   "open mount tree {}", path))};
}

void moveMount(int from, int toDir, const std::string& toPath) {
  unsigned flags = MOVE_MOUNT_F_EMPTY_PATH;
  if (toPath.empty()) flags |= MOVE_MOUNT_T_EMPTY_PATH;
  check([&] { return ::syscall(SYS_move_mount, from, "", toDir, toPath.c_str(), flags); },
        "attach a mount at {}", toPath.empty() ? "a descriptor" : toPath);
}

void mountSetattr(int dir, const std::string& path, unsigned flags, std::uint64_t set,
                  std::uint64_t clear, std::uint64_t propagation) {
  mount_attr attributes{};
  attributes.attr_set = set;
  attributes.attr_clr = clear;
  attributes.propagation = propagation;
  const unsigned all = flags | (path.empty() ? unsigned{AT_EMPTY_PATH} : 0U);
  check(
      [&] {
        return ::syscall(SYS_mount_setattr, dir, path.c_str(), all, &attributes, sizeof attributes);
      },
      "set mount attributes of {}", path.empty() ? "a mount" : path);
}

void mountSetattrIdmap(int mount, int userNamespace) {
  mount_attr attributes{};
  attributes.attr_set = MOUNT_ATTR_IDMAP;
  attributes.userns_fd = static_cast<std::uint64_t>(userNamespace);
  check(
      [&] {
        return ::syscall(SYS_mount_setattr, mount, "", AT_EMPTY_PATH | AT_RECURSIVE, &attributes,
                         sizeof attributes);
      },
      "map the owners of a mount");
}

void pivotRoot(const std::string& newRoot, const std::string& putOld) {
  check([&] { return ::syscall(SYS_pivot_root, newRoot.c_str(), putOld.c_str()); },
        "pivot_root to {}", newRoot);
}
void chroot(const std::string& path) {
  check([&] { return ::chroot(path.c_str()); }, "chroot to {}", path);
}

pid_t clone3(clone_args& args) {
  return static_cast<pid_t>(
      check([&] { return ::syscall(SYS_clone3, &args, sizeof args); }, "clone a process"));
}
void unshare(int flags) {
  check([&] { return ::unshare(flags); }, "unshare namespaces");
  if ((flags & CLONE_NEWUSER) != 0) userNamespaceChanged();
}
void setns(int fd, int flags, std::string_view what) {
  check([&] { return ::setns(fd, flags); }, "join {}", what);
  if ((flags & CLONE_NEWUSER) != 0) userNamespaceChanged();
}
Fd pidfdOpen(pid_t pid) {
  return Fd{static_cast<int>(
      check([&] { return ::syscall(SYS_pidfd_open, pid, 0); }, "open process {}", pid))};
}
bool pidfdSendSignal(int pidfd, int signal) {
  if (::syscall(SYS_pidfd_send_signal, pidfd, signal, nullptr, 0) == 0) return true;
  if (errno == ESRCH) return false;
  throw Error::fromErrno(errno, fmt::format("send signal {}", signal));
}

void closeRange(unsigned first, unsigned last) {
  check([&] { return ::syscall(SYS_close_range, first, last, 0); }, "close descriptors {} to {}",
        first, last);
}
void sethostname(const std::string& name) {
  check([&] { return ::sethostname(name.data(), name.size()); }, "set the host name to {}", name);
}
void prctl(int option, unsigned long arg2, std::string_view what) {
  check([&] { return ::prctl(option, arg2, 0, 0, 0); }, "{}", what);
}
void chdir(const std::string& path) {
  check([&] { return ::chdir(path.c_str()); }, "change to folder {}", path);
}
void fchdir(int fd) {
  check([&] { return ::fchdir(fd); }, "change to a folder by descriptor");
}
void setNonBlocking(int fd, bool on) {
  const int flags = check([&] { return ::fcntl(fd, F_GETFL); }, "read descriptor flags");
  const int wanted = on ? flags | O_NONBLOCK : flags & ~O_NONBLOCK;
  if (wanted != flags) check([&] { return ::fcntl(fd, F_SETFL, wanted); }, "set descriptor flags");
}
int ioctl(int fd, unsigned long request, void* argument, std::string_view what) {
  return check([&] { return ::ioctl(fd, request, argument); }, "{}", what);
}

std::int64_t monotonicMs() {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return std::int64_t{now.tv_sec} * 1000 + now.tv_nsec / 1'000'000;
}

bool tryFlock(int fd, bool isExclusive) {
  const int operation = (isExclusive ? LOCK_EX : LOCK_SH) | LOCK_NB;
  for (;;) {
    if (::flock(fd, operation) == 0) return true;
    if (errno == EWOULDBLOCK) return false;
    if (errno != EINTR) throw Error::fromErrno(errno, "lock a file");
  }
}

struct statfs fstatfs(int fd, std::string_view what) {
  struct statfs info {};
  check([&] { return ::fstatfs(fd, &info); }, "statfs {}", what);
  return info;
}

std::pair<Fd, Fd> socketPair() {
  int ends[2] = {-1, -1};
  check([&] { return ::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends); },
        "make a socket pair");
  return {Fd{ends[0]}, Fd{ends[1]}};
}

namespace {

struct FdMessage {
  char byte = 0;
  iovec part{&byte, 1};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  msghdr header{};
  FdMessage() {
    header.msg_iov = &part;
    header.msg_iovlen = 1;
    header.msg_control = control;
    header.msg_controllen = sizeof control;
  }
};

}  // namespace

void sendFd(int socket, int fd) {
  FdMessage message;
  cmsghdr* head = CMSG_FIRSTHDR(&message.header);
  head->cmsg_level = SOL_SOCKET;
  head->cmsg_type = SCM_RIGHTS;
  head->cmsg_len = CMSG_LEN(sizeof(int));
  std::memcpy(CMSG_DATA(head), &fd, sizeof fd);
  check([&] { return ::sendmsg(socket, &message.header, MSG_NOSIGNAL); }, "send a descriptor");
}

Fd receiveFd(int socket) {
  FdMessage message;
  check([&] { return ::recvmsg(socket, &message.header, MSG_CMSG_CLOEXEC); },
        "receive a descriptor");
  const cmsghdr* head = CMSG_FIRSTHDR(&message.header);
  if (head == nullptr || head->cmsg_type != SCM_RIGHTS) {
    throw Error{Kind::internal, "receive a descriptor: there was none"};
  }
  int fd = -1;
  std::memcpy(&fd, CMSG_DATA(head), sizeof fd);
  return Fd{fd};
}

}  // namespace img::sys
