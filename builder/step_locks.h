// One build at a time executes a given step: others, in this process or another one, wait and then
// find the result in the cache (dockerfile.md 6.6). A lock is a byte of one file under a lock of
// the open file description (fcntl(2), F_OFD_SETLK), at an offset that the key decides: nothing
// piles up, and the kernel frees what a dead process held.
#pragma once

#include <set>
#include <utility>

#include "base/digest.h"
#include "base/fd.h"
#include "store/layout.h"

namespace img::builder {

class StepLocks;

// Freed by the destructor. Must not outlive its StepLocks.
class [[nodiscard]] StepLock {
 public:
  StepLock() = default;
  StepLock(StepLocks& owner, std::int64_t offset) : owner_(&owner), offset_(offset) {}
  StepLock(const StepLock&) = delete;
  StepLock& operator=(const StepLock&) = delete;
  StepLock(StepLock&& other) noexcept
      : owner_(std::exchange(other.owner_, nullptr)), offset_(other.offset_) {}
  StepLock& operator=(StepLock&& other) noexcept {
    std::swap(owner_, other.owner_);
    std::swap(offset_, other.offset_);
    return *this;
  }
  ~StepLock();
  explicit operator bool() const { return owner_ != nullptr; }

 private:
  StepLocks* owner_ = nullptr;
  std::int64_t offset_ = 0;
};

class StepLocks {
 public:
  explicit StepLocks(const store::Layout& layout) : layout_(layout) {}
  // An empty lock when somebody else has it.
  StepLock tryLock(const Digest& key);

 private:
  friend class StepLock;
  void unlock(std::int64_t offset) noexcept;

  const store::Layout& layout_;
  Fd file_;                     // opened at the first use
  std::set<std::int64_t> own_;  // the description's owner never conflicts with itself
};

}  // namespace img::builder
