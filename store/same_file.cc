#include "store/same_file.h"

#include <array>
#include <cstring>

#include "base/fd.h"

namespace img::store {

bool isSameContent(int first, int second, std::uint64_t size) {
  constexpr size_t kPiece = size_t{64} << 10;
  std::array<std::byte, kPiece> ours;
  std::array<std::byte, kPiece> theirs;
  for (std::uint64_t at = 0; at < size; at += kPiece) {
    const size_t a = preadFull(first, ours, static_cast<off_t>(at), "a file");
    const size_t b = preadFull(second, theirs, static_cast<off_t>(at), "a file");
    if (a != b || std::memcmp(ours.data(), theirs.data(), a) != 0) return false;
  }
  return true;
}

}  // namespace img::store
