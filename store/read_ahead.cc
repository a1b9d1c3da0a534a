#include "store/read_ahead.h"

#include <algorithm>
#include <cstring>

namespace img::store {

ReadAhead::ReadAhead(Source& inner) : inner_(inner), thread_([this] { fill(); }) {}

ReadAhead::~ReadAhead() {
  {
    const std::lock_guard lock{mutex_};
    stopped_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

// Small reads (of a pipe) are collected: a block costs a hand-over.
size_t ReadAhead::fillBlock(Block& block) {
  block.size = block.used = 0;
  size_t count = 1;
  while (block.size < kBlockBytes && count > 0) {
    try {
      if (!block.bytes) block.bytes = std::make_unique_for_overwrite<std::byte[]>(kBlockBytes);
      count = inner_.read({block.bytes.get() + block.size, kBlockBytes - block.size});
    } catch (...) {
      const std::lock_guard lock{mutex_};
      failure_ = std::current_exception();
      return 0;
    }
    block.size += count;
    const std::lock_guard lock{mutex_};
    // Nobody waits behind a slow source for the block to become full; the reader may be through
    // with the block it holds at any moment.
    const bool isReaderAtItsLast = filled_ == (isHolding_ ? size_t{1} : 0);
    if (stopped_ || (isReaderAtItsLast && block.size > 0 && count < kBlockBytes / 2)) break;
  }
  return count;
}

void ReadAhead::fill() {
  size_t back = 0;
  bool isLast = false;
  while (!isLast) {
    {
      std::unique_lock lock{mutex_};
      changed_.wait(lock, [this] { return stopped_ || filled_ < kBlocks; });
      if (stopped_) return;
    }
    isLast = fillBlock(blocks_[back]) == 0;
    {
      const std::lock_guard lock{mutex_};
      if (blocks_[back].size > 0) ++filled_;
      ended_ = isLast;
    }
    changed_.notify_all();
    back = (back + 1) % kBlocks;
  }
}

ReadAhead::Block* ReadAhead::frontBlock() {
  std::unique_lock lock{mutex_};
  if (isHolding_) {
    --filled_;
    front_ = (front_ + 1) % kBlocks;
    isHolding_ = false;
    changed_.notify_all();
  }
  changed_.wait(lock, [this] { return ended_ || filled_ > 0; });
  if (filled_ > 0) {
    isHolding_ = true;
    return &blocks_[front_];
  }
  if (failure_) std::rethrow_exception(failure_);
  return nullptr;
}

size_t ReadAhead::read(std::span<std::byte> into) {
  Block* block = &blocks_[front_];
  if (!isHolding_ || block->used == block->size) block = frontBlock();
  if (block == nullptr) return 0;
  const size_t count = std::min(into.size(), block->size - block->used);
  std::memcpy(into.data(), block->bytes.get() + block->used, count);
  block->used += count;
  return count;
}

}  // namespace img::store
