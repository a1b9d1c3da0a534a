#include "store/side_work.h"

namespace img::store {
namespace {

constexpr std::uint64_t kBytesBeforeThread = std::uint64_t{1} << 20;
// Less is worked on at once: to wake the thread would take as long.
constexpr size_t kLeastBlock = size_t{64} << 10;

}  // namespace

SideWork::~SideWork() {
  if (!worker_.joinable()) return;
  {
    const std::lock_guard lock{mutex_};
    ended_ = true;
  }
  changed_.notify_all();
  worker_.join();
}

void SideWork::start(std::span<const std::byte> bytes) {
  size_ += bytes.size();
  wait();
  if (size_ <= kBytesBeforeThread || bytes.size() < kLeastBlock) return work_(bytes);
  if (!worker_.joinable()) worker_ = std::jthread{[this] { run(); }};
  {
    const std::lock_guard lock{mutex_};
    block_ = bytes;
  }
  changed_.notify_all();
}

void SideWork::wait() {
  if (!worker_.joinable()) return;
  std::unique_lock lock{mutex_};
  changed_.wait(lock, [this] { return block_.empty(); });
  if (failure_) std::rethrow_exception(failure_);
}

void SideWork::run() {
  std::unique_lock lock{mutex_};
  for (;;) {
    changed_.wait(lock, [this] { return ended_ || !block_.empty(); });
    if (block_.empty()) return;
    const auto block = block_;
    lock.unlock();
    std::exception_ptr failure;
    try {
      work_(block);
    } catch (...) {
      failure = std::current_exception();
    }
    lock.lock();
    if (failure) failure_ = failure;
    block_ = {};
    changed_.notify_all();
  }
}

}  // namespace img::store
