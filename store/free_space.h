// L1 of security.md: writing stops before the store's file system is full, so that what runs on it
// goes on running.
#pragma once

#include <cstdint>
#include <string>

namespace img::store {

class FreeSpace {
 public:
  // `fd` lies on the file system; `action` opens the message ("unpack NAME").
  FreeSpace(int fd, std::string action) : fd_(fd), action_(std::move(action)) {}
  // So many bytes more. Looks again after every 64 MiB; throws ENOSPC below 1 % or 256 MiB.
  void use(std::uint64_t bytes);

 private:
  int fd_;
  std::string action_;
  std::uint64_t unchecked_ = 0;
};

}  // namespace img::store
