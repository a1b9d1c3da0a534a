// The caller's terminal while a container has a pty: raw mode with a guard that always restores,
// the window size, and the detach keys. The loop that copies bytes is monitor.h.
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

// "ctrl-p,ctrl-q" as the bytes a terminal sends; a single letter stands for itself. Throws
// Kind::usage.
std::string parseDetachKeys(std::string_view text);

// Watches typed bytes for the detach keys. Bytes that may be their beginning are held back until it
// is decided.
class DetachKeys {
 public:
  explicit DetachKeys(std::string keys) : keys_(std::move(keys)) {}
  // What of `typed` goes on to the container; isDetached() tells whether the keys were completed
  // (the rest is dropped).
  std::string filter(std::string_view typed);
  [[nodiscard]] bool isDetached() const { return isDetached_; }

 private:
  std::string keys_;
  size_t matched_ = 0;
  bool isDetached_ = false;
};

}  // namespace img::runtime
