// SHA-256 of a stream beside what else is done with its bytes: a thread of its own hashes a block
// while the caller writes or parses the same block. It starts only when the stream has become long
// enough to pay for it. One thread calls.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <span>
#include <thread>

#include "base/digest.h"

namespace img::store {

class SideHasher {
 public:
  SideHasher() = default;
  SideHasher(const SideHasher&) = delete;
  SideHasher& operator=(const SideHasher&) = delete;
  ~SideHasher();

  // The bytes must stay as they are until the next call of anything.
  void start(std::span<const std::byte> bytes);
  // Afterwards nothing of what was given is looked at any more.
  void wait();
  [[nodiscard]] std::uint64_t size() const { return size_; }
  Digest finish();

 private:
  void run();

  Hasher hasher_;  // of whoever works on a block
  std::uint64_t size_ = 0;

  std::mutex mutex_;
  std::condition_variable changed_;
  std::span<const std::byte> block_;  // guarded by mutex_; empty: nothing to do
  bool ended_ = false;                // guarded by mutex_
  std::jthread worker_;
};

}  // namespace img::store
