#include "base/preallocation.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>

#include "base/sys.h"

namespace img {
namespace {

constexpr std::uint64_t kWorthIt = 1 << 20;
// In proportion to what is there, so that a full disk is not asked for much more than is needed.
constexpr std::uint64_t kLeast = 4 << 20, kMost = 64 << 20;

}  // namespace

void Preallocation::grow(std::uint64_t size, std::uint64_t next) {
  if (isOff_ || next < kWorthIt || next <= end_) return;
  const std::uint64_t from = std::max(size, end_);
  const std::uint64_t bytes = std::max(next - from, std::clamp(next, kLeast, kMost));
  isOff_ = ::fallocate(file_, FALLOC_FL_KEEP_SIZE, static_cast<off_t>(from),
                       static_cast<off_t>(bytes)) != 0;
  if (!isOff_) end_ = from + bytes;
}

void Preallocation::trim(std::uint64_t size) {
  if (end_ > size) sys::ftruncate(file_, static_cast<off_t>(size));
  end_ = 0;
  isOff_ = true;
}

}  // namespace img
