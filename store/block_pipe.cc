#include "store/block_pipe.h"

#include <utility>

namespace img::store {
namespace {

// The first block goes to the sink directly: a layer under 1 MiB never pays for a thread.
constexpr size_t kBlocksBeforeThread = 1;
// Enough to ride out a slow write; more would only push the data out of the processor's cache.
constexpr size_t kMaxBuffers = 4;

}  // namespace

BlockPipe::~BlockPipe() {
  stopWorker();
}

std::span<std::byte> BlockPipe::space() {
  if (used_ == kBlockBytes) flush();
  if (!current_) {
    current_ = std::make_unique_for_overwrite<std::byte[]>(kBlockBytes);
    ++buffers_;
  }
  return {current_.get() + used_, kBlockBytes - used_};
}

void BlockPipe::flush() {
  if (used_ == 0) return;
  if (mode_ == Mode::direct || flushed_ < kBlocksBeforeThread) {
    sink_.write({current_.get(), used_});
    used_ = 0;
    ++flushed_;
    return;
  }
  enqueue();
}

void BlockPipe::enqueue() {
  if (!worker_.joinable()) worker_ = std::jthread{[this] { drainQueue(); }};
  std::unique_lock lock{mutex_};
  queue_.push_back({std::move(current_), used_});
  used_ = 0;
  ++flushed_;
  changed_.notify_all();
  changed_.wait(lock, [this] { return failure_ || !free_.empty() || buffers_ < kMaxBuffers; });
  if (failure_) std::rethrow_exception(failure_);
  if (free_.empty()) return;  // space() allocates another one
  current_ = std::move(free_.back());
  free_.pop_back();
}

void BlockPipe::drainQueue() {
  std::unique_lock lock{mutex_};
  for (;;) {
    changed_.wait(lock, [this] { return ended_ || !queue_.empty(); });
    if (queue_.empty()) return;
    Filled filled = std::move(queue_.front());
    queue_.pop_front();
    lock.unlock();
    std::exception_ptr failure;
    try {
      sink_.write({filled.buffer.get(), filled.bytes});
    } catch (...) {
      failure = std::current_exception();
    }
    lock.lock();
    try {
      free_.push_back(std::move(filled.buffer));
    } catch (...) {  // an exception must not leave a thread
      if (!failure) failure = std::current_exception();
    }
    if (failure) failure_ = failure;
    changed_.notify_all();
    if (failure_) return;
  }
}

void BlockPipe::stopWorker() {
  if (!worker_.joinable()) return;
  {
    const std::lock_guard lock{mutex_};
    ended_ = true;
    changed_.notify_all();
  }
  worker_.join();
}

void BlockPipe::finish() {
  stopWorker();
  if (failure_) std::rethrow_exception(failure_);
  if (used_ > 0) sink_.write({current_.get(), used_});
  used_ = 0;
}

}  // namespace img::store
