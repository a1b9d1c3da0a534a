// Bytes collected in large blocks on their way to a sink. With Mode::overlapped a second thread
// hands the blocks to the sink (hashing, writing) while the caller fills the next ones; it starts
// only when the stream has become long enough to pay for it. The sink is used by one thread at a
// time, and by nobody after finish().
#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <exception>
#include <memory>
#include <mutex>
#include <span>
#include <thread>
#include <vector>

#include "base/stream.h"

namespace img::store {

class BlockPipe {
 public:
  enum class Mode { direct, overlapped };
  // Less would cost more in waking threads: at half of it a COPY of 200 MB takes 3 % longer.
  static constexpr size_t kBlockBytes = size_t{1} << 20;

  BlockPipe(Sink& sink, Mode mode) : sink_(sink), mode_(mode) {}
  ~BlockPipe();
  BlockPipe(const BlockPipe&) = delete;
  BlockPipe& operator=(const BlockPipe&) = delete;

  // The free part of the current block, never empty. A multiple of 512 bytes stays whole: blocks
  // are multiples too.
  std::span<std::byte> space();
  void advance(size_t count) { used_ += count; }
  // How many bytes have come so far.
  [[nodiscard]] std::uint64_t position() const { return flushed_ * kBlockBytes + used_; }
  // Everything is in the sink afterwards. Rethrows what the sink threw.
  void finish();

 private:
  using Buffer = std::unique_ptr<std::byte[]>;
  struct Filled {
    Buffer buffer;
    size_t bytes;
  };

  void flush();
  void enqueue();
  void drainQueue();
  void stopWorker();

  Sink& sink_;
  Mode mode_;
  Buffer current_;
  size_t used_ = 0;
  size_t flushed_ = 0;  // blocks, all of them full
  size_t buffers_ = 0;

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Filled> queue_;    // guarded by mutex_
  std::vector<Buffer> free_;    // guarded by mutex_
  std::exception_ptr failure_;  // guarded by mutex_
  bool ended_ = false;          // guarded by mutex_
  std::jthread worker_;
};

}  // namespace img::store
