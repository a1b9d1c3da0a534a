#include "cli/progress_plain.h"

#include <gtest/gtest.h>

#include "base/sys.h"
#include "base/text.h"
#include "tests/cli/progress_support.h"

namespace img::cli {
namespace {

class PlainTest : public testing::Test {
 protected:
  PlainTest() {
    build.show([](DisplayHost host) { return std::make_unique<PlainProgress>(std::move(host)); });
  }
  PlayedBuild build;
};

TEST_F(PlainTest, ShowsAStepAsTheSpecDrawsIt) {
  build.cached(1);
  build.start(2, "src/handler.c changed");
  build.pass(512);
  build.output(2, "cc -c handler.c\n");
  build.pass(3588);
  build.done(2);
  build.sealed(2, 12'100'000);
  build.succeed();
  EXPECT_EQ(build.text,
            "#1 [base 1/1] FROM debian:12 (Dockerfile:11)\n"
            "#1 CACHED\n"
            "#2 [build 1/2] RUN make -j2 (Dockerfile:12)\n"
            "#2 reason: src/handler.c changed\n"
            "#2 0.512 cc -c handler.c\n"
            "#2 DONE 4.1s +12.1MB sha256:" +
                Digest::of("layer").shortHex() +
                "\n"
                "built app\n");
}

TEST_F(PlainTest, SaysHowAStepFailed) {
  build.start(2);
  build.pass(1300);
  build.output(2, "no newline");
  build.fail(2, "RUN failed with exit code 2");
  build.breakDown(Error{Kind::failed, "RUN failed with exit code 2"});
  EXPECT_EQ(build.text,
            "#2 [build 1/2] RUN make -j2 (Dockerfile:12)\n"
            "#2 1.300 no newline\n"
            "#2 ERROR exit code 2 after 1.3s\n"
            "error: report\n");
}

TEST_F(PlainTest, SaysWhatFailedBeforeItCouldStart) {
  build.fail(4, "no such file: src");
  EXPECT_EQ(build.text, "#4 [build 2/2] COPY . /src (Dockerfile:14)\n#4 ERROR no such file: src\n");
}

TEST_F(PlainTest, LetsOneStepHoldTheStreamUntilItEnds) {
  build.start(2);
  build.start(3, "first build");
  build.pass(250);
  build.output(3, "docs 1\ndo");
  build.output(2, "make 1\n");
  build.pass(500);
  build.output(3, "cs 2\n");
  build.done(2);
  EXPECT_EQ(build.taken(),
            "#2 [build 1/2] RUN make -j2 (Dockerfile:12)\n"
            "#2 0.250 make 1\n"
            "#3 [docs 1/1] RUN mkdocs build (Dockerfile:13)\n"
            "#3 reason: first build\n"
            "#3 0.250 docs 1\n"
            "#3 0.750 docs 2\n")
      << "lines keep the time at which they came";
  build.sealed(2, 5);
  EXPECT_EQ(build.taken(), "#2 DONE 0.8s +5B sha256:" + Digest::of("layer").shortHex() + "\n");
}

TEST_F(PlainTest, ShowsAWaitingStepWholeWhenTheHolderEnds) {
  build.start(2);
  build.start(3);
  build.output(3, "docs\n");
  build.pass(100);
  build.done(3);
  build.sealed(3, 7);
  build.cached(1);
  EXPECT_EQ(build.taken(), "#2 [build 1/2] RUN make -j2 (Dockerfile:12)\n");
  build.done(2);
  EXPECT_EQ(build.taken(),
            "#3 [docs 1/1] RUN mkdocs build (Dockerfile:13)\n"
            "#3 0.000 docs\n"
            "#3 DONE 0.1s +7B sha256:" +
                Digest::of("layer").shortHex() +
                "\n"
                "#1 [base 1/1] FROM debian:12 (Dockerfile:11)\n"
                "#1 CACHED\n");
}

TEST_F(PlainTest, TakesTheStreamFromASilentStepAfterFiveSeconds) {
  build.start(2);
  build.output(2, "a\n");
  EXPECT_EQ(build.hub.tickMs(), -1) << "nobody waits";
  build.pass(2000);
  build.start(3);
  build.output(3, "b\n");
  EXPECT_EQ(build.hub.tickMs(), 3000);
  build.pass(2999);
  build.hub.tick();
  build.taken();
  build.pass(1);
  build.hub.tick();
  EXPECT_EQ(build.taken(), "#3 [docs 1/1] RUN mkdocs build (Dockerfile:13)\n#3 0.000 b\n");
  build.output(2, "c\n");
  EXPECT_EQ(build.taken(), "") << "now the other one waits";
  build.pass(5000);
  build.hub.tick();
  EXPECT_EQ(build.taken(), "#2 5.000 c\n") << "without a second title";
}

TEST_F(PlainTest, LeavesTheStreamWithASilentStepWhenNobodyHasAnythingToSay) {
  build.start(2);
  build.start(3);
  build.pass(5000);
  build.hub.tick();
  EXPECT_NE(build.taken().find("#3 [docs"), std::string::npos);
  build.pass(60'000);
  build.hub.tick();
  EXPECT_EQ(build.taken(), "");
  EXPECT_EQ(build.hub.tickMs(), -1);
}

TEST_F(PlainTest, GivesTheStreamToAStepThatFailsAndEndsTheOthers) {
  build.start(2);
  build.output(2, "long line without an end");
  build.start(3);
  build.output(3, "doc: error\n");
  build.pass(400);
  build.fail(3, "RUN failed with exit code 7");
  build.fail(2, "cancelled");
  build.fail(4, "cancelled");  // was never started: nothing is said
  build.breakDown(Error{Kind::failed, "x"});
  EXPECT_EQ(build.text,
            "#2 [build 1/2] RUN make -j2 (Dockerfile:12)\n"
            "#3 [docs 1/1] RUN mkdocs build (Dockerfile:13)\n"
            "#3 0.000 doc: error\n"
            "#3 ERROR exit code 7 after 0.4s\n"
            "#2 0.400 long line without an end\n"
            "#2 CANCELLED after 0.4s\n"
            "error: report\n");
}

TEST_F(PlainTest, NumbersTheStepsOfFurtherPlatformsOn) {
  build.start(2);
  build.done(2);
  build.hub.planned(build.outline);
  build.start(2);
  build.output(2, "again\n");
  build.done(2);
  build.sealed(2, 1);
  EXPECT_EQ(build.text,
            "#2 [build 1/2] RUN make -j2 (Dockerfile:12)\n"
            "#6 [build 1/2] RUN make -j2 (Dockerfile:12)\n"
            "#6 0.000 again\n"
            "#6 DONE 0.0s +1B sha256:" +
                Digest::of("layer").shortHex() + "\n");
  EXPECT_EQ(build.hub.log()->size(6), 6u);
}

TEST_F(PlainTest, KeepsGigabytesOfWaitingOutputOutOfMemory) {
  build.start(2);
  build.start(3);
  const std::string line(99, 'x');
  for (int i = 0; i < 20'000; ++i) build.output(3, line + "\n");
  build.done(2);
  EXPECT_EQ(std::count(build.text.begin(), build.text.end(), '\n'), 20'000 + 2);
  EXPECT_EQ(build.hub.log()->size(3), 2'000'000u);
}

TEST_F(PlainTest, ShowsOutputAtOnceWhenItCannotBeKept) {
  fs::removeTree(build.layout.fd(), "builds");
  const Fd file = sys::openat(build.layout.fd(), "builds", O_WRONLY | O_CREAT, 0600);
  build.start(2);
  build.start(3);
  build.output(3, "docs\n");
  EXPECT_EQ(build.text,
            "#2 [build 1/2] RUN make -j2 (Dockerfile:12)\n"
            "#3 [docs 1/1] RUN mkdocs build (Dockerfile:13)\n"
            "#3 0.000 docs\n");
}

TEST_F(PlainTest, ShowsWholeLinesHoweverTheyArrive) {
  build.start(3);
  build.taken();
  for (const char* piece : {"one\ntw", "o\n", "\nthree"}) build.output(3, piece);
  build.done(3);
  EXPECT_EQ(build.text, "#3 0.000 one\n#3 0.000 two\n#3 0.000 \n#3 0.000 three\n");
}

TEST_F(PlainTest, KeepsTheTextAfterTheLastCarriageReturn) {
  build.start(3);
  build.taken();
  build.output(3, "10%\r50%\r100%\r\n");
  EXPECT_EQ(build.text, "#3 0.000 100%\n");
}

TEST_F(PlainTest, ShowsAnEndlessLineInPieces) {
  build.start(3);
  build.taken();
  const std::string piece(size_t{48} << 10, 'x');
  for (int i = 0; i < 3; ++i) build.output(3, piece);
  build.output(3, "\nend\n");
  std::vector<size_t> lengths;
  for (const std::string& line : text::split(build.text, '\n')) lengths.push_back(line.size());
  const size_t head = std::string_view{"#3 0.000 "}.size();
  EXPECT_EQ(lengths, (std::vector<size_t>{head + (64 << 10), head + (64 << 10), head + (16 << 10),
                                          head + 3, 0}));
}

TEST_F(PlainTest, ShowsNoControlBytes) {
  build.start(3, "\x1b[31mred");
  build.output(3, "\x1b[2Jx\n");
  EXPECT_EQ(build.text.find('\x1b'), std::string::npos);
}

}  // namespace
}  // namespace img::cli
