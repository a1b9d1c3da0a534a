#include "base/fd.h"

#include <fcntl.h>
#include <unistd.h>

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

std::string readAll(int fd, std::string_view what, size_t limit) {
  std::string text;
  size_t done = 0;
  for (;;) {
    if (text.size() - done < 4096) text.resize(std::max<size_t>(text.size() * 2, 16384));
    const auto count = sys::check(
        [&] { return ::read(fd, text.data() + done, text.size() - done); }, "read {}", what);
    if (count == 0) break;
    done += static_cast<size_t>(count);
    if (done > limit) throw Error::make(Kind::corrupt, "{} is longer than {} bytes", what, limit);
  }
  text.resize(done);
  return text;
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

}  // namespace img
