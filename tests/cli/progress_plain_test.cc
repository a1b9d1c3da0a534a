#include "cli/progress_plain.h"

#include <gtest/gtest.h>

#include "base/fs.h"
#include "base/sys.h"
#include "base/text.h"
#include "cli/command.h"

namespace img::cli {
namespace {

// What a step's output, passed on in pieces, looks like on stderr.
std::vector<std::string> shown(const std::vector<std::string>& pieces, bool isQuiet = false) {
  const fs::TempDir temp;
  const Fd err = sys::openat(temp.fd(), "err", O_RDWR | O_CREAT, 0600);
  Context context{err.get(), err.get()};
  PlainProgress progress{context, isQuiet};
  builder::StepLabel step;
  step.number = 3;
  step.stage = "1/1";
  step.text = "RUN x";
  progress.stepStarted(step, {});
  for (const std::string& piece : pieces) progress.stepOutput(step, piece);
  progress.stepDone(step);
  std::vector<std::string> lines = text::split(fs::readFile(temp.fd(), "err"), '\n');
  if (!lines.empty()) lines.erase(lines.begin());  // the title
  for (std::string& line : lines) line = line.substr(std::min(line.size(), size_t{9}));
  return lines;
}

TEST(PlainProgress, ShowsWholeLinesHoweverTheyArrive) {
  EXPECT_EQ(shown({"one\ntw", "o\n", "\nthree"}),
            (std::vector<std::string>{"one", "two", "", "three", ""}));
}

TEST(PlainProgress, KeepsTheTextAfterTheLastCarriageReturn) {
  EXPECT_EQ(shown({"10%\r50%\r100%\r\n"}), (std::vector<std::string>{"100%", ""}));
}

TEST(PlainProgress, ShowsAnEndlessLineInPieces) {
  const std::string piece(size_t{48} << 10, 'x');
  const std::vector<std::string> lines = shown({piece, piece, piece, "\nend\n"});
  ASSERT_EQ(lines.size(), 5u);
  EXPECT_EQ(lines[0].size(), size_t{64} << 10);
  EXPECT_EQ(lines[1].size(), size_t{64} << 10);
  EXPECT_EQ(lines[2].size(), size_t{16} << 10);
  EXPECT_EQ(lines[3], "end");
}

TEST(PlainProgress, IsSilentWhenQuiet) {
  EXPECT_EQ(shown({"one\n"}, true), std::vector<std::string>{});
}

}  // namespace
}  // namespace img::cli
