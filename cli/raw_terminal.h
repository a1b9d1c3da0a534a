// The caller's terminal in raw mode while a container has it: keys go to the container as they are.
// Put back by the destructor, whatever happened.
#pragma once

#include <termios.h>

namespace img::cli {

class [[nodiscard]] RawTerminal {
 public:
  // Nothing happens when `fd` is no terminal.
  explicit RawTerminal(int fd);
  RawTerminal(const RawTerminal&) = delete;
  RawTerminal& operator=(const RawTerminal&) = delete;
  ~RawTerminal();

 private:
  int fd_ = -1;
  termios before_{};
};

}  // namespace img::cli
