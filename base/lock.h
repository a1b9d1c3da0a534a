// Advisory whole-file locks (flock(2)) on files that are never deleted or renamed: the kernel frees
// a lock when its holder dies, so there are no stale ones. Lock order: gc -> index -> object
// (reliability.md 4).
#pragma once

#include <optional>
#include <string>

#include "base/fd.h"

namespace img {

class [[nodiscard]] FileLock {
 public:
  enum class Mode { shared, exclusive };
  // Creates the file if needed and waits for the lock.
  static FileLock acquire(int dir, const std::string& path, Mode mode);
  // nullopt when somebody else holds it.
  static std::optional<FileLock> tryAcquire(int dir, const std::string& path, Mode mode);
  [[nodiscard]] int fd() const { return fd_.get(); }

 private:
  explicit FileLock(Fd fd) : fd_(std::move(fd)) {}
  Fd fd_;
};

}  // namespace img
