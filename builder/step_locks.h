// One build at a time executes a given step: others, in this process or another one, wait and then
// find the result in the cache (dockerfile.md 6.6). A lock is a byte of one file under a lock of
// the open file description (fcntl(2), F_OFD_SETLK), at an offset that the key decides: nothing
// piles up, and the kernel frees what a dead process held.
#pragma once

#include <memory>
#include <set>
#include <utility>

#include "base/digest.h"
#include "base/fd.h"
#include "store/layout.h"

namespace img::builder {

// What a StepLocks and its locks share: a build that failed may leave a layer that is being sealed,
// with its lock, behind the steps.
struct StepLockFile {
  Fd file;                     // opened at the first use
  std::set<std::int64_t> own;  // the description's owner never conflicts with itself
};

// Freed by the destructor.
class [[nodiscard]] StepLock {
 public:
  StepLock() = default;
  StepLock(std::shared_ptr<StepLockFile> file, std::int64_t offset)
      : file_(std::move(file)), offset_(offset) {}
  StepLock(const StepLock&) = delete;
  StepLock& operator=(const StepLock&) = delete;
  StepLock(StepLock&& other) noexcept = default;
  StepLock& operator=(StepLock&& other) noexcept {
    std::swap(file_, other.file_);
    std::swap(offset_, other.offset_);
    return *this;
  }
  ~StepLock();
  explicit operator bool() const { return file_ != nullptr; }

 private:
  std::shared_ptr<StepLockFile> file_;  // null: no lock
  std::int64_t offset_ = 0;
};

class StepLocks {
 public:
  explicit StepLocks(const store::Layout& layout) : layout_(layout) {}
  // An empty lock when somebody else has it.
  StepLock tryLock(const Digest& key);

 private:
  const store::Layout& layout_;
  std::shared_ptr<StepLockFile> file_ = std::make_shared<StepLockFile>();
};

}  // namespace img::builder
