#include "distribution/arriving_file.h"

#include <algorithm>
#include <vector>

#include "base/error.h"
#include "base/fd.h"

namespace img::distribution {
namespace {

constexpr size_t kBuffer = size_t{256} << 10;

}  // namespace

ArrivingFile::ArrivingFile(Source& download, int file, std::function<void()> settle)
    : download_(download),
      file_(file),
      settle_(std::move(settle)),
      thread_([this] { receive(); }) {}

ArrivingFile::~ArrivingFile() {
  {
    const std::lock_guard lock{mutex_};
    stopped_ = true;
  }
  thread_.join();
}

void ArrivingFile::receive() {
  std::exception_ptr failure;
  try {
    receiveAll();
  } catch (...) {
    failure = std::current_exception();
  }
  {
    const std::lock_guard lock{mutex_};
    failure_ = failure;
    ended_ = settled_ = true;
  }
  changed_.notify_all();
}

void ArrivingFile::receiveAll() {
  std::vector<std::byte> buffer(kBuffer);
  while (const size_t count = download_.read(buffer)) {
    {
      const std::lock_guard lock{mutex_};
      if (stopped_) return;
      arrived_ += count;
    }
    changed_.notify_all();
  }
  {
    const std::lock_guard lock{mutex_};
    ended_ = true;
  }
  changed_.notify_all();
  settle_();
}

size_t ArrivingFile::read(std::span<std::byte> into) {
  if (into.empty()) return 0;
  std::uint64_t there = 0;
  {
    std::unique_lock lock{mutex_};
    changed_.wait(lock, [this] { return ended_ || arrived_ > at_; });
    there = arrived_ - at_;
    if (there == 0 && failure_) std::rethrow_exception(failure_);
  }
  if (there == 0) return 0;
  const auto wanted = static_cast<size_t>(std::min<std::uint64_t>(there, into.size()));
  const size_t count = preadFull(file_, into.first(wanted), static_cast<off_t>(at_), "a download");
  if (count != wanted) throw Error{Kind::failed, "a download became shorter while it was read"};
  at_ += count;
  return count;
}

void ArrivingFile::finish() {
  std::unique_lock lock{mutex_};
  changed_.wait(lock, [this] { return settled_; });
  if (failure_) std::rethrow_exception(failure_);
}

}  // namespace img::distribution
