// Every system call we make, wrapped once: EINTR retried (never for close), close-on-exec set from
// birth, the error names the call's object and throws img::Error. Names are the kernel's, so that
// the man page is one search away. All functions may be called from any thread.
#pragma once

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/types.h>

#include <cerrno>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/fd.h"

struct clone_args;
struct mount_attr;

namespace img::sys {

// The only place that retries EINTR and turns errno into an Error.
template <class Call, class... Args>
auto check(Call&& call, fmt::format_string<Args...> action, Args&&... args) {
  for (;;) {
    const auto result = call();
    if (result >= 0) return result;
    const int errnum = errno;  // before formatting, which may change it
    if (errnum != EINTR) {
      throw Error::fromErrno(errnum, fmt::format(action, std::forward<Args>(args)...));
    }
  }
}

// Files. Paths are relative to `dir` (AT_FDCWD allowed). O_CLOEXEC and O_NOCTTY are added.
Fd openat(int dir, const std::string& path, int flags, mode_t mode = 0);
// nullopt on ENOENT and ENOTDIR.
std::optional<Fd> tryOpenat(int dir, const std::string& path, int flags, mode_t mode = 0);
// Resolves below `root` as if chrooted there (RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS, openat2(2)).
Fd openInRoot(int root, const std::string& path, int flags, mode_t mode = 0);
std::optional<Fd> tryOpenInRoot(int root, const std::string& path, int flags, mode_t mode = 0);
// Beneath `root`, no symbolic link at all (RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS).
Fd openBeneath(int root, const std::string& path, int flags, mode_t mode = 0);
Fd openDirectory(int dir, const std::string& path);  // O_RDONLY | O_DIRECTORY
Fd reopen(int fd, int flags);                        // an O_PATH descriptor, opened for real
// A path through /proc that reaches the object of a descriptor (proc(5), /proc/pid/fd).
std::string procPath(int fd);

struct stat fstat(int fd);
struct stat fstatat(int dir, const std::string& path);  // never follows the last component
std::optional<struct stat> tryFstatat(int dir, const std::string& path);
void mkdirat(int dir, const std::string& path, mode_t mode);
bool tryMkdirat(int dir, const std::string& path, mode_t mode);  // false: EEXIST
void symlinkat(const std::string& target, int dir, const std::string& path);
void linkat(int oldDir, const std::string& oldPath, int newDir, const std::string& newPath,
            int flags);
void mknodat(int dir, const std::string& path, mode_t mode, dev_t device);
void unlinkat(int dir, const std::string& path, int flags);
bool tryUnlinkat(int dir, const std::string& path, int flags);  // false: ENOENT
void renameat(int oldDir, const std::string& oldPath, int newDir, const std::string& newPath);
// False when the new name exists (RENAME_NOREPLACE).
bool renameNoReplace(int oldDir, const std::string& oldPath, int newDir,
                     const std::string& newPath);
std::string readlinkat(int dir, const std::string& path);
void fchmod(int fd, mode_t mode);
void fchmodat(int dir, const std::string& path,
              mode_t mode);  // follows links: never on untrusted names
void fchown(int fd, uid_t uid, gid_t gid);
void lchownat(int dir, const std::string& path, uid_t uid, gid_t gid);
void utimensat(int dir, const std::string& path, const timespec& atime,
               const timespec& mtime);  // no follow
void futimens(int fd, const timespec& atime, const timespec& mtime);
void ftruncate(int fd, off_t size);
void fsync(int fd, std::string_view what);
void fdatasync(int fd, std::string_view what);
void syncfs(int fd, std::string_view what);
std::vector<std::string> flistxattr(int fd);
std::optional<std::string> fgetxattr(int fd, const std::string& name);
void fsetxattr(int fd, const std::string& name, std::string_view value);

// Mounts (mount(2), fsopen(2), open_tree(2), mount_setattr(2), move_mount(2), pivot_root(2)).
void mount(const char* source, const std::string& target, const char* type, unsigned long flags,
           const char* data);
void umount2(const std::string& target, int flags);
Fd fsopen(const std::string& type);
void fsconfigString(int fs, const std::string& key, const std::string& value);
bool tryFsconfigString(int fs, const std::string& key, const std::string& value);  // false: EINVAL
void fsconfigFlag(int fs, const std::string& key);
void fsconfigCreate(int fs, std::string_view what);  // the error carries the kernel's own log lines
Fd fsmount(int fs, unsigned attributes);
Fd openTree(int dir, const std::string& path, unsigned flags);
void moveMount(int from, int toDir, const std::string& toPath);  // "" = toDir itself
void mountSetattr(int dir, const std::string& path, unsigned flags, std::uint64_t set,
                  std::uint64_t clear, std::uint64_t propagation = 0);
// Whoever the user namespace maps inside owns what its outside says (mount_setattr(2), "ID-mapped
// mounts"). For mounts that are not attached yet.
void mountSetattrIdmap(int mount, int userNamespace);
void pivotRoot(const std::string& newRoot, const std::string& putOld);
void chroot(const std::string& path);

// Processes and namespaces.
pid_t clone3(clone_args& args);
void unshare(int flags);
void setns(int fd, int flags, std::string_view what);
Fd pidfdOpen(pid_t pid);
bool pidfdSendSignal(int pidfd, int signal);  // false: the process is gone (ESRCH)
void closeRange(unsigned first, unsigned last);
void sethostname(const std::string& name);
void prctl(int option, unsigned long arg2, std::string_view what);
void chdir(const std::string& path);
void fchdir(int fd);
void setNonBlocking(int fd, bool on);
int ioctl(int fd, unsigned long request, void* argument, std::string_view what);
std::int64_t monotonicMs();
// flock(2) without waiting; false when somebody else holds it.
bool tryFlock(int fd, bool isExclusive);
struct statfs fstatfs(int fd, std::string_view what);
// One descriptor through a Unix socket (unix(7), SCM_RIGHTS).
std::pair<Fd, Fd> socketPair();
void sendFd(int socket, int fd);
Fd receiveFd(int socket);

}  // namespace img::sys
