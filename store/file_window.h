// A regular file read in windows where most of it is skipped (the headers of a tar, not its data):
// what is skipped is not read. Windows grow while everything is wanted, and are small again behind
// a gap. The descriptor is borrowed, its own offset neither used nor moved.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace img::store {

class FileWindow {
 public:
  // From the first byte on. `name` opens messages.
  FileWindow(int file, std::string name);

  // The next bytes, valid until the next call; empty at the end.
  std::span<const std::byte> next();
  // Leaves out bytes that next() has not given yet; returns how many, fewer at the end only.
  std::uint64_t skip(std::uint64_t count);

 private:
  int file_;
  std::string name_;
  std::uint64_t size_;
  std::uint64_t at_ = 0;
  size_t window_;
  std::vector<std::byte> buffer_;
};

}  // namespace img::store
