#include "cli/progress_tty.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "base/text.h"
#include "cli/columns.h"
#include "tests/cli/progress_support.h"

namespace img::cli {
namespace {

// As much of a terminal as the display uses: lines, cursor up, erase to the end of line and screen.
// Anything else, a line that wraps or a move above the screen is a failure.
class Screen {
 public:
  void write(std::string_view bytes, size_t columns, size_t rows) {
    for (size_t at = 0; at < bytes.size();) {
      if (bytes[at] == '\x1b') {
        at += escape(bytes.substr(at), rows);
      } else if (bytes[at] == '\r') {
        column_ = 0;
        ++at;
      } else if (bytes[at] == '\n') {
        EXPECT_LT(displayWidth(line()), columns) << line();
        ++row_;
        column_ = 0;
        (void)line();
        ++at;
      } else {
        if (column_ == 0) line().clear();
        size_t end = at;
        while (end < bytes.size() && bytes[end] != '\x1b' && bytes[end] != '\n' &&
               bytes[end] != '\r')
          ++end;
        line() += bytes.substr(at, end - at);
        column_ += end - at;
        at = end;
      }
    }
    EXPECT_EQ(column_, 0u) << "the cursor stands at the begin of a line";
  }
  std::string text() const { return text::join(lines_, "\n"); }
  size_t height() const { return row_; }

 private:
  std::string& line() {
    if (lines_.size() <= row_) lines_.resize(row_ + 1);
    return lines_[row_];
  }
  size_t escape(std::string_view text, size_t rows) {
    const size_t end = text.find_first_of("AKJm");
    EXPECT_TRUE(text.starts_with("\x1b[") && end != std::string_view::npos);
    if (text[end] == 'A') {
      const size_t up = text::parseUnsigned(text.substr(2, end - 2)).value_or(9999);
      EXPECT_LE(up, row_);
      EXPECT_LT(up, rows) << "above the top of the screen";
      row_ -= std::min<size_t>(up, row_);
    } else if (text[end] == 'K') {
      line().resize(std::min(line().size(), column_));
    } else if (text[end] == 'J') {
      line().resize(std::min(line().size(), column_));
      lines_.resize(row_ + 1);
    }
    return end + 1;
  }
  std::vector<std::string> lines_;
  size_t row_ = 0, column_ = 0;
};

class TtyTest : public testing::Test {
 protected:
  void open(bool isUtf8 = false, int logLines = 6) {
    build.show([&](DisplayHost host) {
      return std::make_unique<TtyProgress>(
          std::move(host), TtyProgress::Terminal{[this] { return size; }, isUtf8, logLines});
    });
  }
  // The screen after what has been written so far.
  std::string shown() {
    screen.write(build.taken(), static_cast<size_t>(size.columns), static_cast<size_t>(size.rows));
    return screen.text();
  }
  void frame() {
    build.pass(100);
    build.hub.tick();
  }
  PlayedBuild build;
  TerminalSize size{80, 24};
  Screen screen;
};

TEST_F(TtyTest, DrawsTheStepsAndTheLastLinesOfThoseThatRun) {
  open();
  build.cached(1);
  build.start(2, "src/handler.c changed");
  build.output(2, "cc -c handler.c\ncc -c main.c\n");
  build.start(3, "first build");
  build.pass(1000);
  build.hub.tick();
  EXPECT_EQ(shown(),
            "[+] building app:latest   1.0s   1/4 done   1 cached   2 running\n"
            " = [base 1/1]  FROM debian:12    cached\n"
            " > [build 1/2] RUN make -j2      1.0s     src/handler.c changed\n"
            "     cc -c handler.c\n"
            "     cc -c main.c\n"
            " > [docs 1/1]  RUN mkdocs build  1.0s     first build\n");
  build.done(2);
  build.sealed(2, 41'300'000);
  build.pass(500);
  build.hub.tick();
  EXPECT_EQ(shown(),
            "[+] building app:latest   1.5s   2/4 done   1 cached   1 running\n"
            " = [base 1/1]  FROM debian:12    cached\n"
            " + [build 1/2] RUN make -j2      1.0s     +41.3MB\n"
            " > [docs 1/1]  RUN mkdocs build  1.5s     first build\n");
}

TEST_F(TtyTest, DrawsAtMostTenFramesASecond) {
  open();
  build.start(2);
  for (int i = 0; i < 99; ++i) {
    build.pass(1);
    build.output(2, "x\n");
  }
  EXPECT_EQ(build.taken(), "");
  EXPECT_EQ(build.hub.tickMs(), 1);
  build.pass(1);
  build.hub.tick();
  EXPECT_NE(build.taken(), "");
  build.hub.tick();
  EXPECT_EQ(build.taken(), "");
}

TEST_F(TtyTest, LeavesTheFinalStateOnce) {
  open();
  build.start(2);
  frame();
  build.done(2);
  build.sealed(2, 1000);
  build.succeed();
  EXPECT_EQ(shown(),
            "[+] built app:latest   0.1s   1/4 done\n"
            " + [build 1/2] RUN make -j2  0.1s   +1kB\n"
            "built app\n");
}

TEST_F(TtyTest, ShowsAQuickBuildOnlyAsItsFinalState) {
  open();
  build.cached(1);
  build.cached(2);
  EXPECT_EQ(build.taken(), "");
  build.succeed();
  EXPECT_EQ(shown(),
            "[+] built app:latest   0.0s   2/4 done   2 cached\n"
            " = [base 1/1]  FROM debian:12  cached\n"
            " = [build 1/2] RUN make -j2    cached\n"
            "built app\n");
}

TEST_F(TtyTest, ShowsWhatFailedAndWhatWasCancelled) {
  open();
  build.start(2);
  build.start(3);
  build.output(3, "doc: error\n");
  frame();
  build.fail(3, "RUN failed with exit code 7");
  build.breakDown(Error{Kind::failed, "x"});
  EXPECT_EQ(shown(),
            "[!] failed app:latest   0.1s   1/4 done\n"
            " - [build 1/2] RUN make -j2      cancelled\n"
            " ! [docs 1/1]  RUN mkdocs build  0.1s        exit code 7\n"
            "error: report\n");
}

TEST_F(TtyTest, PrintsWarningsAboveTheFrame) {
  open();
  build.start(2);
  frame();
  build.hub.warning(Error{Kind::failed, "odd name"});
  frame();
  EXPECT_EQ(shown(),
            "warning: odd name\n"
            "[+] building app:latest   0.2s   0/4 done   1 running\n"
            " > [build 1/2] RUN make -j2  0.2s\n");
}

TEST_F(TtyTest, LeavesTheTerminalToOthersWhileItIsSuspended) {
  open();
  build.start(2);
  frame();
  build.hub.suspend();
  build.taken();
  frame();
  EXPECT_EQ(build.taken(), "");
  EXPECT_EQ(build.hub.tickMs(), -1);
  build.hub.resume();
  EXPECT_TRUE(build.taken().starts_with("[+] building")) << "below what came in between";
  EXPECT_EQ(build.hub.tickMs(), 100);
}

TEST_F(TtyTest, SaysNothingButTheErrorWhenNoStepHasBegun) {
  open();
  build.breakDown(Error{Kind::failed, "x"});
  EXPECT_EQ(shown(), "error: report\n");
}

TEST_F(TtyTest, StaysWithinASmallTerminal) {
  open();
  size = {40, 6};
  for (int i = 1; i <= 40; ++i) {
    builder::StepLabel label = PlayedBuild::step(2);
    label.number = i;
    build.pass(1);
    build.hub.stepCached(label);
  }
  build.start(41, "a very long reason that does not fit here");
  build.output(41, std::string(200, 'x') + "\n" + "2\n3\n4\n5\n6\n7\n");
  frame();
  frame();
  const std::string text = shown();
  EXPECT_LE(screen.height(), 5u) << text;
  EXPECT_NE(text.find(" > [build 2/2]"), std::string::npos) << text;
  EXPECT_NE(text.find("7"), std::string::npos) << text;
}

TEST_F(TtyTest, SharesTheLinesAmongRunningSteps) {
  open(false, 3);
  build.start(2);
  build.start(3);
  build.output(2, "a1\na2\na3\na4\n");
  build.output(3, "b1\nb2\n");
  frame();
  const std::string text = shown();
  EXPECT_EQ(text.find("a2"), std::string::npos);
  EXPECT_NE(text.find("     a3\n     a4\n"), std::string::npos) << text;
  EXPECT_EQ(text.find("b1"), std::string::npos);
  EXPECT_NE(text.find("     b2\n"), std::string::npos) << text;
}

TEST_F(TtyTest, FollowsAResize) {
  open();
  build.start(2, "a reason of some length");
  build.output(2, std::string(70, 'x') + "\n");
  frame();
  build.taken();
  size = {30, 24};  // the terminal has broken the 75 columns of output into three rows
  frame();
  EXPECT_TRUE(build.taken().starts_with("\r\x1b[7A")) << "2 + 2 + 3 rows";
}

TEST_F(TtyTest, UsesMarksAndCutsByColumnsWithUtf8) {
  open(true);
  size.columns = 30;
  builder::StepLabel label = PlayedBuild::step(2);
  label.text = "RUN echo 日本語日本語日本語日本語";
  build.hub.stepStarted(label, {});
  frame();
  const std::string text = shown();
  EXPECT_NE(text.find(" ● [build 1…"), std::string::npos) << text;
  for (const std::string& line : text::split(text, '\n')) EXPECT_LT(displayWidth(line), 30u);
}

TEST_F(TtyTest, ShowsOnlyAsciiWithoutUtf8) {
  open(false);
  builder::StepLabel label = PlayedBuild::step(2);
  label.text = "RUN echo é";
  build.hub.stepStarted(label, {});
  build.output(2, "日\n");
  frame();
  const std::string text = build.taken();
  EXPECT_TRUE(std::all_of(text.begin(), text.end(), [](char c) { return c >= 0; })) << text;
  EXPECT_NE(text.find("RUN echo ?"), std::string::npos) << text;
}

TEST_F(TtyTest, ColoursOnlyWhenAllowed) {
  open();
  build.cached(1);
  frame();
  EXPECT_EQ(build.taken().find("\x1b[36m"), std::string::npos);

  PlayedBuild colourful;
  colourful.useColor = true;
  colourful.show([&](DisplayHost host) {
    return std::make_unique<TtyProgress>(std::move(host),
                                         TtyProgress::Terminal{[this] { return size; }, false, 6});
  });
  colourful.cached(1);
  colourful.succeed();
  EXPECT_NE(colourful.taken().find(" \x1b[36m=\x1b[0m [base 1/1]"), std::string::npos);
}

TEST(Columns, CountWideAndCombiningCharacters) {
  EXPECT_EQ(displayWidth("abc"), 3u);
  EXPECT_EQ(displayWidth("日本"), 4u);
  EXPECT_EQ(displayWidth("e\xCC\x81"), 1u);  // e and a combining acute
  EXPECT_EQ(displayWidth("📦"), 2u);
  EXPECT_EQ(displayWidth("…✔"), 2u);
  EXPECT_EQ(fitColumns("日本語", 5, "…"), "日本…");
  EXPECT_EQ(fitColumns("日本語", 4, "…"), "日…");
  EXPECT_EQ(fitColumns("abcdef", 5, "..."), "ab...");
  EXPECT_EQ(fitColumns("abcdef", 2, "..."), "..");
  EXPECT_EQ(fitColumns("abc", 3, "…"), "abc");
  EXPECT_EQ(padColumns("日", 4), "日  ");
}

}  // namespace
}  // namespace img::cli
