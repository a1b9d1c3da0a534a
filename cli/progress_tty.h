// --progress=tty: a frame redrawn in place (cli.md 9.2). It uses cursor movement and erasing only
// and leaves the cursor below the frame after every write, so that a terminal is in order wherever
// the program ends. Lines never reach the last column, so that none wraps.
#pragma once

#include <deque>
#include <map>
#include <string>
#include <vector>

#include "cli/display.h"

namespace img::cli {

struct TerminalSize {
  int columns = 80, rows = 24;
};
// Of the terminal, else COLUMNS, else 80x24 (cli.md 2).
TerminalSize terminalSizeOf(int fd);

class TtyProgress final : public Display {
 public:
  struct Terminal {
    std::function<TerminalSize()> size;  // asked for at each frame: it may be resized
    bool isUtf8 = false;
    int logLines = 6;  // of all running steps together
  };
  TtyProgress(DisplayHost host, Terminal terminal);

  void started(const StepView& step) override;
  void cached(const StepView& step) override;
  void output(const StepView& step, std::string_view bytes, bool isKept) override;
  void done(const StepView& step) override;
  void sealed(const StepView& step) override;
  void failed(const StepView& step) override;
  void warning(const Error& warning) override;
  void notice(const std::string& text) override;
  void succeeded(const std::string& summary) override;
  void broke(const Error& error, const std::function<void()>& report) override;
  void suspend() override;
  void resume() override;
  void tick() override;
  [[nodiscard]] int tickMs() const override;

 private:
  enum class Phase { building, built, failed };
  struct Line {
    std::string text;    // fits
    char mark = ' ';     // drawn at column 1: = + > ! -, or a blank
    bool isDim = false;  // output of a step
  };
  struct Layout;
  struct Tail {
    LineSplitter splitter;
    std::deque<std::string> lines;
  };

  [[nodiscard]] std::vector<const StepView*> chosenSteps(size_t room, size_t& hidden) const;
  [[nodiscard]] std::vector<std::string> tailOf(const StepView& step) const;
  [[nodiscard]] std::map<int, size_t> shareTails(size_t room) const;
  [[nodiscard]] Layout layoutFor(const std::vector<const StepView*>& steps, size_t width) const;
  [[nodiscard]] std::string header() const;
  [[nodiscard]] std::string timeText(const StepView& step) const;
  [[nodiscard]] std::string detailText(const StepView& step) const;
  [[nodiscard]] Line row(const StepView& step, const Layout& layout) const;
  [[nodiscard]] std::vector<Line> frame(const TerminalSize& size) const;
  [[nodiscard]] std::string painted(const Line& line) const;
  [[nodiscard]] std::string plain(const std::string& text) const;  // what the charset can show
  [[nodiscard]] std::string erase(const TerminalSize& size);
  void draw(std::string_view below = {});

  Terminal terminal_;
  Phase phase_ = Phase::building;
  bool isSuspended_ = false;
  std::map<int, Tail> tails_;        // of running steps
  std::vector<size_t> drawnWidths_;  // of the lines on the screen
  std::int64_t lastFrameMs_;
};

}  // namespace img::cli
