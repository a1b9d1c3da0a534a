#include "cli/prompt.h"

#include <poll.h>
#include <termios.h>
#include <unistd.h>

#include <optional>

#include "base/interruption.h"
#include "base/sys.h"

namespace img::cli {
namespace {

constexpr size_t kMaxAnswer = 64 << 10;

// Typed characters stay unseen as long as it lives.
class HiddenInput {
 public:
  HiddenInput() {
    termios now{};
    if (::tcgetattr(STDIN_FILENO, &now) != 0) return;
    before_ = now;
    now.c_lflag &= ~static_cast<tcflag_t>(ECHO);
    sys::check([&] { return ::tcsetattr(STDIN_FILENO, TCSAFLUSH, &now); }, "hide what is typed");
  }
  HiddenInput(const HiddenInput&) = delete;
  HiddenInput& operator=(const HiddenInput&) = delete;
  ~HiddenInput() {
    if (before_) ::tcsetattr(STDIN_FILENO, TCSAFLUSH, &*before_);
  }

 private:
  std::optional<termios> before_;
};

std::string readLine() {
  std::string line;
  while (line.size() < kMaxAnswer) {
    waitOrThrow(STDIN_FILENO, POLLIN);
    char c = 0;
    const ssize_t count = sys::check([&] { return ::read(STDIN_FILENO, &c, 1); }, "read an answer");
    if (count == 0 || c == '\n') break;
    line.push_back(c);
  }
  return line;
}

}  // namespace

std::string promptFor(Context& context, const std::string& label, Echo echo,
                      const std::string& hint) {
  if (::isatty(STDIN_FILENO) != 1) {
    throw Error::make(Kind::usage, "stdin is no terminal to ask for the {} on", label).hint(hint);
  }
  const InterruptionScope interruption;  // so that the terminal is put right first
  std::optional<HiddenInput> hidden;
  if (echo == Echo::hidden) hidden.emplace();
  context.notice(label + ": ");
  std::string answer = readLine();
  if (hidden) context.notice("\n");
  return answer;
}

}  // namespace img::cli
