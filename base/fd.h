// Owned file descriptors and whole reads and writes. Move-only, empty after a move, closed once.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <utility>

namespace img {

class [[nodiscard]] Fd {
 public:
  Fd() = default;
  explicit Fd(int fd) noexcept : fd_(fd) {}
  Fd(Fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Fd& operator=(Fd&& other) noexcept;
  Fd(const Fd&) = delete;
  Fd& operator=(const Fd&) = delete;
  ~Fd() { reset(); }

  [[nodiscard]] int get() const noexcept { return fd_; }
  explicit operator bool() const noexcept { return fd_ >= 0; }
  int release() noexcept { return std::exchange(fd_, -1); }
  void reset() noexcept;
  // Closes and reports what close(2) reports (a write error may surface only here). No retry on
  // EINTR.
  void close(std::string_view what);
  // A duplicate with close-on-exec.
  Fd duplicate() const;

 private:
  int fd_ = -1;
};

struct [[nodiscard]] Pipe {
  Fd read;
  Fd write;
  static Pipe make();  // both ends close-on-exec
};

// All bytes until end of file; throws Kind::corrupt when there are more than `limit`.
std::string readAll(int fd, std::string_view what, size_t limit = size_t{1} << 30);
// Fills as much of `into` as there is before end of file; returns the count.
size_t readFull(int fd, std::span<std::byte> into, std::string_view what);
size_t preadFull(int fd, std::span<std::byte> into, off_t offset, std::string_view what);
void writeAll(int fd, std::string_view bytes, std::string_view what);
void writeAll(int fd, std::span<const std::byte> bytes, std::string_view what);
// The same at the file's position, but the disk gets the bytes at once and the page cache does not
// keep them (RWF_DONTCACHE of preadv2(2), Linux 6.14). False: this kernel or file system cannot;
// nothing is written then. Whole pages only: a page that is written in two parts is read back.
bool writeUncached(int fd, std::span<const std::byte> bytes, std::string_view what);

inline std::span<const std::byte> asBytes(std::string_view text) {
  return std::as_bytes(std::span{text.data(), text.size()});
}
inline std::string_view asText(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

}  // namespace img
