// A source that is read by a thread of its own, a few blocks ahead: what produces the bytes
// (receiving, decompressing) and what uses them (unpacking) run at the same time. One thread reads;
// `inner` outlives it, and is read by nobody else. What `inner` throws comes out of read(), after
// the bytes before it. The destructor waits until the read under way has returned.
#pragma once

#include <array>
#include <condition_variable>
#include <cstddef>
#include <exception>
#include <memory>
#include <mutex>
#include <thread>

#include "base/stream.h"

namespace img::store {

class ReadAhead final : public Source {
 public:
  static constexpr size_t kBlockBytes = size_t{256} << 10;

  explicit ReadAhead(Source& inner);
  ~ReadAhead() override;
  size_t read(std::span<std::byte> into) override;

 private:
  static constexpr size_t kBlocks = 4;
  struct Block {
    std::unique_ptr<std::byte[]> bytes;
    size_t size = 0, used = 0;
  };
  void fill();
  size_t fillBlock(Block& block);
  // The block that can be read from; nullptr at the end.
  Block* frontBlock();

  Source& inner_;
  std::array<Block, kBlocks> blocks_;  // a ring: [front_, front_ + filled_) has bytes
  size_t front_ = 0;                   // of the reader
  // The reader is in the middle of blocks_[front_]; written by it, under mutex_.
  bool isHolding_ = false;

  std::mutex mutex_;
  std::condition_variable changed_;
  size_t filled_ = 0;           // guarded by mutex_
  bool ended_ = false;          // guarded by mutex_: nothing comes after the filled blocks
  bool stopped_ = false;        // guarded by mutex_: the reader is gone
  std::exception_ptr failure_;  // guarded by mutex_
  std::jthread thread_;
};

}  // namespace img::store
