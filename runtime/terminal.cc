#include "runtime/terminal.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include "base/sys.h"

namespace img::runtime {

RawMode::RawMode(int fd) : fd_(fd) {
  termios now{};
  if (::tcgetattr(fd, &now) != 0) return;
  termios raw = now;
  ::cfmakeraw(&raw);
  sys::check([&] { return ::tcsetattr(fd, TCSANOW, &raw); }, "put the terminal into raw mode");
  before_ = now;
}

void RawMode::restore() noexcept {
  if (!before_) return;
  ::tcsetattr(fd_, TCSANOW, &*before_);
  before_.reset();
}

std::optional<WindowSize> windowSize(int fd) {
  winsize size{};
  if (::ioctl(fd, TIOCGWINSZ, &size) != 0) return std::nullopt;
  return WindowSize{size.ws_row, size.ws_col};
}

void setWindowSize(int fd, WindowSize size) {
  winsize raw{};
  raw.ws_row = size.rows;
  raw.ws_col = size.columns;
  sys::ioctl(fd, TIOCSWINSZ, &raw, "set the size of the terminal");
}

}  // namespace img::runtime
