#include "store/file_window.h"

#include <sys/stat.h>

#include <algorithm>

#include "base/fd.h"
#include "base/sys.h"

namespace img::store {
namespace {

// A call costs about as much as copying the gap that is worth one.
constexpr size_t kSmallest = size_t{2} << 10, kLargest = size_t{16} << 10;
constexpr std::uint64_t kGap = 4 << 10;

}  // namespace

FileWindow::FileWindow(int file, std::string name)
    : file_(file),
      name_(std::move(name)),
      size_(static_cast<std::uint64_t>(sys::fstat(file).st_size)),
      window_(kSmallest),
      buffer_(kLargest) {}

std::span<const std::byte> FileWindow::next() {
  const auto into = std::span{buffer_}.first(window_);
  const size_t count = preadFull(file_, into, static_cast<off_t>(at_), name_);
  at_ += count;
  window_ = std::min(window_ * 2, kLargest);
  return into.first(count);
}

std::uint64_t FileWindow::skip(std::uint64_t count) {
  count = std::min(count, size_ - std::min(at_, size_));
  at_ += count;
  if (count >= kGap) window_ = kSmallest;
  return count;
}

}  // namespace img::store
