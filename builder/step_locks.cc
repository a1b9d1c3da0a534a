#include "builder/step_locks.h"

#include <fcntl.h>

#include <cerrno>
#include <cstdlib>

#include "base/error.h"
#include "base/sys.h"

namespace img::builder {
namespace {

struct flock rangeAt(std::int64_t offset, short type) {
  struct flock range {};
  range.l_type = type;
  range.l_whence = SEEK_SET;
  range.l_start = offset;
  range.l_len = 1;
  return range;
}

// 60 bits of the key: an accidental neighbour only waits.
std::int64_t offsetOf(const Digest& key) {
  return static_cast<std::int64_t>(std::stoull(key.hex().substr(0, 15), nullptr, 16));
}

}  // namespace

StepLock::~StepLock() {
  if (!file_) return;
  // Explicitly: a sealing child that inherited the description would keep the lock alive.
  struct flock range = rangeAt(offset_, F_UNLCK);
  ::fcntl(file_->file.get(), F_OFD_SETLK, &range);
  file_->own.erase(offset_);
}

StepLock StepLocks::tryLock(const Digest& key) {
  const std::int64_t offset = offsetOf(key);
  if (file_->own.count(offset) != 0) return {};
  if (!file_->file) file_->file = sys::openat(layout_.fd(), "locks/steps", O_RDWR | O_CREAT, 0600);
  struct flock range = rangeAt(offset, F_WRLCK);
  if (::fcntl(file_->file.get(), F_OFD_SETLK, &range) < 0) {
    if (errno == EAGAIN || errno == EACCES) return {};
    throw Error::fromErrno(errno, "lock a build step");
  }
  file_->own.insert(offset);
  return StepLock{file_, offset};
}

}  // namespace img::builder
