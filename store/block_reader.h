// A source read in large blocks, the counterpart of BlockPipe. With Mode::overlapped a second
// thread reads ahead (decompressing, hashing) while the caller works on the block it has; it starts
// only when the stream has become long enough to pay for it, and has ended when the reader is
// destroyed. The source is used by one thread at a time.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <exception>
#include <memory>
#include <mutex>
#include <span>
#include <thread>
#include <vector>

#include "base/stream.h"

namespace img::store {

class BlockReader {
 public:
  enum class Mode { direct, overlapped };

  BlockReader(Source& source, Mode mode) : source_(source), mode_(mode) {}
  ~BlockReader();
  BlockReader(const BlockReader&) = delete;
  BlockReader& operator=(const BlockReader&) = delete;

  // The next bytes, valid until the next call; empty at the end. Rethrows what the source threw, in
  // its place.
  std::span<const std::byte> next();

 private:
  using Buffer = std::unique_ptr<std::byte[]>;
  struct Block {
    Buffer buffer;
    size_t bytes = 0;
  };

  Block readBlock(Buffer buffer);
  void readAhead();
  Block takeBlock();

  Source& source_;
  Mode mode_;
  Block current_;
  size_t blocks_ = 0;
  bool atEnd_ = false;

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Block> queue_;     // guarded by mutex_; the last one is empty
  std::vector<Buffer> free_;    // guarded by mutex_
  std::exception_ptr failure_;  // guarded by mutex_
  bool stopped_ = false;        // guarded by mutex_
  std::jthread worker_;
};

}  // namespace img::store
