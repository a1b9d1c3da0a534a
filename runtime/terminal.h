// The caller's terminal while a container has a pty: raw mode with a guard that always restores,
// and the window size. The loop that copies bytes is monitor.h.
#pragma once

#include <termios.h>

#include <optional>
#include <string>
#include <string_view>

namespace img::runtime {

// Raw mode (cfmakeraw(3)) from construction to destruction. Nothing happens on a descriptor that is
// no terminal.
class [[nodiscard]] RawMode {
 public:
  explicit RawMode(int fd);
  RawMode(const RawMode&) = delete;
  RawMode& operator=(const RawMode&) = delete;
  RawMode(RawMode&&) = delete;
  RawMode& operator=(RawMode&&) = delete;
  ~RawMode() { restore(); }
  void restore() noexcept;  // may be called more than once

 private:
  int fd_;
  std::optional<termios> before_;
};

struct WindowSize {
  unsigned short rows = 0;
  unsigned short columns = 0;
  bool operator==(const WindowSize&) const = default;
};

// nullopt: not a terminal.
std::optional<WindowSize> windowSize(int fd);
void setWindowSize(int fd, WindowSize size);

}  // namespace img::runtime
