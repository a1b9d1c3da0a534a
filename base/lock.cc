#include "base/lock.h"

#include <sys/file.h>

#include "base/lock_wait.h"
#include "base/sys.h"

namespace img {
namespace {

Fd openLock(int dir, const std::string& path) {
  return sys::openat(dir, path, O_RDWR | O_CREAT, 0600);
}

int operation(FileLock::Mode mode) {
  return mode == FileLock::Mode::shared ? LOCK_SH : LOCK_EX;
}

}  // namespace

FileLock FileLock::acquire(int dir, const std::string& path, Mode mode) {
  Fd fd = openLock(dir, path);
  waitForLock(fd.get(), operation(mode), path);
  return FileLock{std::move(fd)};
}

std::optional<FileLock> FileLock::tryAcquire(int dir, const std::string& path, Mode mode) {
  Fd fd = openLock(dir, path);
  for (;;) {
    if (::flock(fd.get(), operation(mode) | LOCK_NB) == 0) return FileLock{std::move(fd)};
    if (errno == EWOULDBLOCK) return std::nullopt;
    if (errno != EINTR) throw Error::fromErrno(errno, fmt::format("lock {}", path));
  }
}

}  // namespace img
