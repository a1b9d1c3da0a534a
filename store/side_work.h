// What is done with the blocks of a stream beside what the caller does with them: a thread of its
// own works on a block while the caller works on the same one. It starts only when the stream has
// become long enough to pay for it. One thread calls.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <mutex>
#include <span>
#include <thread>

namespace img::store {

class SideWork {
 public:
  using Work = std::function<void(std::span<const std::byte> block)>;
  explicit SideWork(Work work) : work_(std::move(work)) {}
  SideWork(const SideWork&) = delete;
  SideWork& operator=(const SideWork&) = delete;
  ~SideWork();

  // The bytes must stay as they are until the next call of anything.
  void start(std::span<const std::byte> bytes);
  // Afterwards nothing of what was given is looked at any more. Throws what the work threw.
  void wait();
  [[nodiscard]] std::uint64_t size() const { return size_; }

 private:
  void run();

  const Work work_;  // of whoever works on a block
  std::uint64_t size_ = 0;

  std::mutex mutex_;
  std::condition_variable changed_;
  std::span<const std::byte> block_;  // guarded by mutex_; empty: nothing to do
  std::exception_ptr failure_;        // guarded by mutex_
  bool ended_ = false;                // guarded by mutex_
  std::jthread worker_;
};

}  // namespace img::store
