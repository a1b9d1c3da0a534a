#include "runtime/terminal.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include "base/sys.h"
#include "base/text.h"

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

std::string parseDetachKeys(std::string_view text) {
  std::string keys;
  if (text.empty()) return keys;
  for (const std::string& word : text::split(text, ',')) {
    constexpr std::string_view kControl = "ctrl-";
    if (word.size() == 1) {
      keys += word;
      continue;
    }
    const char key = word.size() == kControl.size() + 1 ? word.back() : '\0';
    const bool isControl = word.compare(0, kControl.size(), kControl) == 0 &&
                           ((key >= 'a' && key <= 'z') || (key >= '@' && key <= '_'));
    if (!isControl) {
      throw Error::make(Kind::usage, "invalid detach key {}", text::quote(word))
          .hint("write single characters or ctrl-X, separated by commas");
    }
    keys += static_cast<char>(key & 0x1f);
  }
  return keys;
}

std::string DetachKeys::filter(std::string_view typed) {
  std::string out;
  for (const char byte : typed) {
    if (isDetached_) break;
    if (!keys_.empty() && byte == keys_[matched_]) {
      isDetached_ = ++matched_ == keys_.size();
      continue;
    }
    out.append(keys_, 0, matched_);  // it was not the keys after all
    matched_ = 0;
    if (!keys_.empty() && byte == keys_[0]) {
      isDetached_ = ++matched_ == keys_.size();
    } else {
      out += byte;
    }
  }
  return out;
}

}  // namespace img::runtime
