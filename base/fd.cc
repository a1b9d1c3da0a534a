#include "base/fd.h"

#include <fcntl.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cerrno>

#include "base/sys.h"

namespace img {

Fd& Fd::operator=(Fd&& other) noexcept {
  if (this != &other) {
    reset();
    fd_ = std::exchange(other.fd_, -1);
  }
  return *this;
}

void Fd::reset() noexcept {
  if (fd_ >= 0) ::close(std::exchange(fd_, -1));
}

void Fd::close(std::string_view what) {
  // close(2): after EINTR the descriptor is gone on Linux, so it must not be closed again.
  if (fd_ >= 0 && ::close(std::exchange(fd_, -1)) < 0 && errno != EINTR) {
    throw Error::fromErrno(errno, fmt::format("close {}", what));
  }
}

Fd Fd::duplicate() const {
  return Fd{sys::check([&] { return ::fcntl(fd_, F_DUPFD_CLOEXEC, 3); }, "duplicate a descriptor")};
}

Pipe Pipe::make() {
  int ends[2];
  sys::check([&] { return ::pipe2(ends, O_CLOEXEC); }, "create a pipe");
  return Pipe{Fd{ends[0]}, Fd{ends[1]}};
}

size_t readFull(int fd, std::span<std::byte> into, std::string_view what) {
  size_t done = 0;
  while (done < into.size()) {
    const auto count = sys::check(
        [&] { return ::read(fd, into.data() + done, into.size() - done); }, "read {}", what);
    if (count == 0) break;
    done += static_cast<size_t>(count);
  }
  return done;
}

size_t preadFull(int fd, std::span<std::byte> into, off_t offset, std::string_view what) {
  size_t done = 0;
  while (done < into.size()) {
    const auto count = sys::check(
        [&] {
          return ::pread(fd, into.data() + done, into.size() - done,
                         offset + static_cast<off_t>(done));
        },
        "read {}", what);
    if (count == 0) break;
    done += static_cast<size_t>(count);
  }
  return done;
}

// Small files, as most that are read whole are, cost no more memory than they have: a buffer of the
// string's own would be cleared first.
std::string readAll(int fd, std::string_view what, size_t limit) {
  char chunk[16 << 10];
  std::string text;
  for (;;) {
    const auto count = sys::check([&] { return ::read(fd, chunk, sizeof chunk); }, "read {}", what);
    if (count == 0) return text;
    text.append(chunk, static_cast<size_t>(count));
    if (text.size() > limit)
      throw Error::make(Kind::corrupt, "{} is longer than {} bytes", what, limit);
  }
}

void writeAll(int fd, std::string_view bytes, std::string_view what) {
  while (!bytes.empty()) {
    const auto count =
        sys::check([&] { return ::write(fd, bytes.data(), bytes.size()); }, "write {}", what);
    bytes.remove_prefix(static_cast<size_t>(count));
  }
}

void writeAll(int fd, std::span<const std::byte> bytes, std::string_view what) {
  writeAll(fd, asText(bytes), what);
}

bool writeUncached(int fd, std::span<const std::byte> bytes, std::string_view what) {
  constexpr int kDontCache = 0x80;  // RWF_DONTCACHE, include/uapi/linux/fs.h
  iovec piece{const_cast<std::byte*>(bytes.data()), bytes.size()};
  ssize_t count = 0;
  do {
    count = ::pwritev2(fd, &piece, 1, -1, kDontCache);
  } while (count < 0 && errno == EINTR);
  if (count < 0 && (errno == EOPNOTSUPP || errno == ENOSYS)) return false;
  sys::check([&] { return count; }, "write {}", what);
  writeAll(fd, bytes.subspan(static_cast<size_t>(count)), what);
  return true;
}

}  // namespace img
