// Where a file's content is zero for long stretches, found from the bytes and not from what the
// file system has allocated: the same content gives the same map, and so the same layer digest, in
// every store.
#pragma once

#include <cstdint>
#include <vector>

#include "store/tar.h"

namespace img::store {

// Runs of zeros shorter than this are data. Also the smallest file that can have a hole.
inline constexpr std::uint64_t kMinHole = std::uint64_t{64} << 10;

// The extents that hold data, ascending. One extent over the whole file when it has no hole; none
// when it is one single hole. Holes begin and end at multiples of 4 KiB or at the end of the file.
std::vector<TarEntry::Extent> dataExtents(int fd, std::uint64_t size);

}  // namespace img::store
