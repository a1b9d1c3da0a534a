#include "store/side_hasher.h"

namespace img::store {
namespace {

constexpr std::uint64_t kBytesBeforeThread = std::uint64_t{1} << 20;

}  // namespace

SideHasher::~SideHasher() {
  if (!worker_.joinable()) return;
  {
    const std::lock_guard lock{mutex_};
    ended_ = true;
  }
  changed_.notify_all();
  worker_.join();
}

void SideHasher::start(std::span<const std::byte> bytes) {
  size_ += bytes.size();
  if (size_ <= kBytesBeforeThread) return hasher_.update(bytes);
  if (!worker_.joinable()) worker_ = std::jthread{[this] { run(); }};
  wait();
  {
    const std::lock_guard lock{mutex_};
    block_ = bytes;
  }
  changed_.notify_all();
}

void SideHasher::wait() {
  if (!worker_.joinable()) return;
  std::unique_lock lock{mutex_};
  changed_.wait(lock, [this] { return block_.empty(); });
}

Digest SideHasher::finish() {
  wait();
  return hasher_.finish();
}

void SideHasher::run() {
  std::unique_lock lock{mutex_};
  for (;;) {
    changed_.wait(lock, [this] { return ended_ || !block_.empty(); });
    if (block_.empty()) return;
    const auto block = block_;
    lock.unlock();
    hasher_.update(block);
    lock.lock();
    block_ = {};
    changed_.notify_all();
  }
}

}  // namespace img::store
