#include "cli/raw_terminal.h"

namespace img::cli {

RawTerminal::RawTerminal(int fd) {
  if (::tcgetattr(fd, &before_) != 0) return;
  termios raw = before_;
  ::cfmakeraw(&raw);
  if (::tcsetattr(fd, TCSADRAIN, &raw) == 0) fd_ = fd;
}

RawTerminal::~RawTerminal() {
  // TCSANOW: with the output stopped (ctrl-S) TCSADRAIN would wait for ever.
  if (fd_ >= 0) ::tcsetattr(fd_, TCSANOW, &before_);
}

}  // namespace img::cli
