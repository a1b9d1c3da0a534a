#include "builder/first_time.h"

#include <fcntl.h>
#include <unistd.h>

#include <cstdint>
#include <cstring>

#include "base/fd.h"

namespace img::builder {
namespace {

constexpr std::uint64_t kPlaces = 8192;
// Beside the digests of files, and removed with them.
constexpr const char* kFile = "cache/stat/first-times";

std::uint64_t wordOf(const Digest& what, size_t index) {
  std::uint64_t word = 0;
  std::memcpy(&word, what.bytes().data() + index * sizeof word, sizeof word);
  return word;
}

}  // namespace

bool isFirstTime(const store::Layout& layout, const Digest& what) {
  const Fd file{::openat(layout.fd(), kFile, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600)};
  if (!file) return false;
  const std::uint64_t mark = wordOf(what, 0) | 1;  // no place is empty that has one
  const auto place = static_cast<off_t>(wordOf(what, 1) % kPlaces * sizeof mark);
  std::uint64_t known = 0;
  if (::pread(file.get(), &known, sizeof known, place) == ssize_t{sizeof known} && known == mark)
    return false;
  return ::pwrite(file.get(), &mark, sizeof mark, place) == ssize_t{sizeof mark};
}

}  // namespace img::builder
