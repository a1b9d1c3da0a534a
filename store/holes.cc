#include "store/holes.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>

#include "base/fd.h"
#include "base/sys.h"

namespace img::store {
namespace {

constexpr std::uint64_t kUnit = 4096;
constexpr std::uint64_t kMinRun = kMinHole / kUnit;
constexpr size_t kScanBytes = size_t{64} << 10;
// Go's archive/tar (since 1.25.2) refuses sparse maps over 1 MiB. Beyond this many extents only
// longer holes count.
constexpr size_t kMaxExtents = 20000;

bool isZero(const std::byte* bytes, size_t count) {
  return count == 0 || (bytes[0] == std::byte{0} && std::memcmp(bytes, bytes + 1, count - 1) == 0);
}

class Scanner {
 public:
  Scanner(int fd, std::uint64_t size)
      : fd_(fd),
        size_(size),
        units_((size + kUnit - 1) / kUnit),
        buffer_(std::make_unique_for_overwrite<std::byte[]>(kScanBytes)) {}

  // A run of kMinRun zero units covers one of every kMinRun-th unit, so only those are looked at,
  // and of most of them only the first bytes: an ordinary file is scanned by reading 64 bytes per
  // 64 KiB.
  std::vector<TarEntry::Extent> scan() {
    std::vector<TarEntry::Extent> extents;
    std::uint64_t dataBegin = 0;
    std::uint64_t searched = 0;  // no run begins before this unit
    for (std::uint64_t probe = kMinRun - 1; probe < units_;) {
      if (!isZeroUnit(probe)) {
        searched = probe + 1;
        probe += kMinRun;
        continue;
      }
      std::uint64_t begin = probe;
      while (begin > searched && isZeroUnit(begin - 1)) --begin;
      const std::uint64_t end = endOfZeros(probe + 1);
      if (end - begin >= kMinRun) {
        if (begin * kUnit > dataBegin) extents.push_back({dataBegin, begin * kUnit - dataBegin});
        dataBegin = std::min(end * kUnit, size_);
      }
      searched = end;
      probe = end + kMinRun;  // unit `end` holds data: the next run begins behind it
    }
    if (dataBegin < size_) extents.push_back({dataBegin, size_ - dataBegin});
    return extents;
  }

 private:
  bool isZeroRange(std::uint64_t offset, size_t count) {
    const size_t got =
        preadFull(fd_, {buffer_.get(), count}, static_cast<off_t>(offset), "file of the layer");
    return isZero(buffer_.get(), got);
  }

  bool isZeroUnit(std::uint64_t unit) {
    constexpr size_t kGlance = 64;
    const std::uint64_t offset = unit * kUnit;
    const size_t count = static_cast<size_t>(std::min(kUnit, size_ - offset));
    return isZeroRange(offset, std::min(count, kGlance)) && isZeroRange(offset, count);
  }

  // The first unit at or behind `unit` that is not zero. Unallocated stretches are jumped over, not
  // read.
  std::uint64_t endOfZeros(std::uint64_t unit) {
    std::uint64_t knownData = 0;  // before this unit the file system has data
    while (unit < units_) {
      if (unit >= knownData) {
        const off_t data = ::lseek(fd_, static_cast<off_t>(unit * kUnit), SEEK_DATA);
        if (data < 0 && errno == ENXIO) return units_;
        if (data >= 0) unit = std::max(unit, static_cast<std::uint64_t>(data) / kUnit);
        const off_t hole = data < 0 ? -1 : ::lseek(fd_, data, SEEK_HOLE);
        knownData = hole < 0 ? units_ : (static_cast<std::uint64_t>(hole) + kUnit - 1) / kUnit;
      }
      const std::uint64_t offset = unit * kUnit;
      const size_t count = static_cast<size_t>(std::min<std::uint64_t>(kScanBytes, size_ - offset));
      if (isZeroRange(offset, count)) {
        unit += (count + kUnit - 1) / kUnit;
        continue;
      }
      while (unit < units_ && isZeroUnit(unit)) ++unit;
      return unit;
    }
    return units_;
  }

  int fd_;
  std::uint64_t size_, units_;
  std::unique_ptr<std::byte[]> buffer_;
};

// Fills the holes shorter than `least`.
std::vector<TarEntry::Extent> mergeExtents(const std::vector<TarEntry::Extent>& extents,
                                           std::uint64_t least) {
  std::vector<TarEntry::Extent> merged;
  for (const auto& extent : extents) {
    if (!merged.empty() && extent.offset - (merged.back().offset + merged.back().length) < least) {
      merged.back().length = extent.offset + extent.length - merged.back().offset;
    } else {
      merged.push_back(extent);
    }
  }
  return merged;
}

}  // namespace

std::vector<TarEntry::Extent> dataExtents(int fd, std::uint64_t size) {
  if (size < kMinHole) return {{0, size}};
  auto extents = Scanner{fd, size}.scan();
  for (std::uint64_t least = 2 * kMinHole; extents.size() > kMaxExtents; least *= 2) {
    extents = mergeExtents(extents, least);
  }
  return extents;
}

}  // namespace img::store
