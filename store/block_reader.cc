#include "store/block_reader.h"

#include <utility>

namespace img::store {
namespace {

constexpr size_t kBlockBytes = size_t{256} << 10;
// A layer under 1 MiB never pays for a thread.
constexpr size_t kBlocksBeforeThread = 4;
constexpr size_t kBuffersAhead = 4;

}  // namespace

BlockReader::~BlockReader() {
  if (!worker_.joinable()) return;
  {
    const std::lock_guard lock{mutex_};
    stopped_ = true;
    changed_.notify_all();
  }
  worker_.join();
}

BlockReader::Block BlockReader::readBlock(Buffer buffer) {
  Block block{std::move(buffer), 0};
  if (!block.buffer) block.buffer = std::make_unique_for_overwrite<std::byte[]>(kBlockBytes);
  // Sources may give little at a time; handing over a block has its price.
  while (block.bytes < kBlockBytes) {
    const size_t count =
        source_.read({block.buffer.get() + block.bytes, kBlockBytes - block.bytes});
    if (count == 0) break;
    block.bytes += count;
  }
  return block;
}

std::span<const std::byte> BlockReader::next() {
  if (atEnd_) return {};
  if (mode_ == Mode::direct || blocks_ < kBlocksBeforeThread) {
    current_ = readBlock(std::move(current_.buffer));
    ++blocks_;
  } else {
    current_ = takeBlock();
  }
  atEnd_ = current_.bytes == 0;
  return {current_.buffer.get(), current_.bytes};
}

BlockReader::Block BlockReader::takeBlock() {
  std::unique_lock lock{mutex_};
  if (current_.buffer) free_.push_back(std::move(current_.buffer));
  if (!worker_.joinable()) {
    free_.resize(kBuffersAhead);  // empty ones are allocated when they are filled
    worker_ = std::jthread{[this] { readAhead(); }};
  }
  changed_.notify_all();
  changed_.wait(lock, [this] { return failure_ || !queue_.empty(); });
  // What was read before the failure comes first.
  if (queue_.empty()) std::rethrow_exception(failure_);
  Block block = std::move(queue_.front());
  queue_.pop_front();
  return block;
}

void BlockReader::readAhead() {
  std::unique_lock lock{mutex_};
  for (;;) {
    changed_.wait(lock, [this] { return stopped_ || !free_.empty(); });
    if (stopped_) return;
    Buffer buffer = std::move(free_.back());
    free_.pop_back();
    lock.unlock();
    Block block;
    std::exception_ptr failure;
    try {
      block = readBlock(std::move(buffer));
    } catch (...) {
      failure = std::current_exception();
    }
    lock.lock();
    const bool isEnd = block.bytes == 0;
    try {
      if (!failure) queue_.push_back(std::move(block));
    } catch (...) {  // no memory for the place in the queue: an exception must not leave a thread
      failure = std::current_exception();
    }
    failure_ = failure;
    const bool isLast = failure || isEnd;
    changed_.notify_all();
    if (isLast) return;
  }
}

}  // namespace img::store
