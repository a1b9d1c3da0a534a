// Blocks for a file that grows, taken a large piece ahead of its end: the file system then places
// whole pieces instead of every page that is written (on ext4 a fifth of the time of writing).
// Only a hint: where there is no room or no support, the writes themselves say so. Small files are
// left alone. The size of the file does not change.
#pragma once

#include <cstdint>

namespace img {

class Preallocation {
 public:
  explicit Preallocation(int file) : file_(file) {}  // borrowed
  // Before the file, so far `size` bytes, grows to `next`.
  void grow(std::uint64_t size, std::uint64_t next);
  // The file has all its `size` bytes: what was taken beyond is given back.
  void trim(std::uint64_t size);

 private:
  int file_;
  std::uint64_t end_ = 0;  // of what was taken
  bool isOff_ = false;
};

}  // namespace img
