#include "store/free_space.h"

#include <sys/statvfs.h>

#include <algorithm>

#include "base/error.h"
#include "base/sys.h"

namespace img::store {
namespace {

constexpr std::uint64_t kCheckBytes = std::uint64_t{64} << 20;
constexpr std::uint64_t kLeastBytes = std::uint64_t{256} << 20;

}  // namespace

void FreeSpace::use(std::uint64_t bytes) {
  unchecked_ += bytes;
  if (unchecked_ < kCheckBytes) return;
  unchecked_ = 0;
  struct statvfs st {};
  sys::check([&] { return ::fstatvfs(fd_, &st); }, "look at the free space to {}", action_);
  const std::uint64_t least =
      std::min<std::uint64_t>(std::uint64_t{st.f_blocks} * st.f_frsize / 100, kLeastBytes);
  if (std::uint64_t{st.f_bavail} * st.f_frsize >= least) return;
  throw Error::fromErrno(ENOSPC, action_)
      .hint("free some space where the store lies, or use `img prune`");
}

}  // namespace img::store
