// Stages side by side: order, the number of jobs, what a failure does to the others, and builds
// that want the same step.
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>

#include "base/process.h"
#include "base/text.h"
#include "tests/builder/support.h"

namespace img::builder {
namespace {

using testing::Test;

constexpr char kTwoStages[] =
    "FROM shell AS a\nRUN sleep 0.2; echo a > /a\n"
    "FROM shell AS b\nRUN sleep 0.2; echo b > /b\n"
    "FROM scratch\nCOPY --from=a /a /\nCOPY --from=b /b /\n";

class ParallelTest : public Test {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "needs root: containers are started";
    const auto busybox = fs::tryReadFile(AT_FDCWD, "/bin/busybox");
    if (!busybox) GTEST_SKIP() << "needs the package busybox-static";
    writeFile(fixture_.context.get(), "busybox", *busybox, 0755);
    const std::vector<std::string> names =
        std::exchange(fixture_.request.names,
                      {"docker.io/library/shell:latest", "docker.io/library/test:latest"});
    fixture_.build(kWithShell);
    fixture_.request.names = names;
    log().clear();
  }
  std::vector<std::string>& log() { return fixture_.progress.log; }
  size_t indexOf(const std::string& entry) {
    return static_cast<size_t>(std::find(log().begin(), log().end(), entry) - log().begin());
  }

  BuildFixture fixture_;
};

TEST_F(ParallelTest, IndependentStagesRunSideBySide) {
  fixture_.request.jobs = 2;
  fixture_.build(kTwoStages);
  const size_t firstDone = std::min(indexOf("done RUN sleep 0.2; echo a > /a"),
                                    indexOf("done RUN sleep 0.2; echo b > /b"));
  EXPECT_LT(indexOf("start RUN sleep 0.2; echo a > /a"), firstDone);
  EXPECT_LT(indexOf("start RUN sleep 0.2; echo b > /b"), firstDone);
}

TEST_F(ParallelTest, OneJobRunsOneStepAtATime) {
  fixture_.request.jobs = 1;
  fixture_.build(kTwoStages);
  ASSERT_EQ(log().size(), 8U);
  for (size_t i = 0; i < log().size(); i += 2) {
    EXPECT_EQ("done" + log()[i].substr(5), log()[i + 1]) << log()[i];
  }
}

TEST_F(ParallelTest, AStageDoesNotWaitForOneThatOnlyItsLaterStepsNeed) {
  fixture_.request.jobs = 2;
  fixture_.build(
      "FROM shell AS slow\nRUN sleep 0.3; echo x > /x\n"
      "FROM shell\nRUN echo early\nCOPY --from=slow /x /\n");
  // Which of the two is sealed first is up to the machine.
  EXPECT_LT(indexOf("start RUN echo early"), indexOf("done RUN sleep 0.3; echo x > /x"));
}

TEST_F(ParallelTest, AFailureEndsTheOtherStagesAndIsTheOneReported) {
  fixture_.request.jobs = 2;
  const Error error = fixture_.failure(
      "FROM shell AS a\nRUN sleep 60\nFROM shell AS b\nRUN sleep 0.1; exit 7\n"
      "FROM scratch\nCOPY --from=a / /\nCOPY --from=b / /\n");
  EXPECT_EQ(error.exitCode(), 7);
  EXPECT_NE(error.stage().find("\"b\""), std::string::npos) << error.stage();
  EXPECT_EQ(log().back(), "failed RUN sleep 60: cancelled");
}

TEST_F(ParallelTest, StepsFinishedBeforeAFailureAreCachedForTheNextBuild) {
  fixture_.failure("FROM shell\nRUN echo kept > /kept\nRUN exit 1\n");
  fixture_.build("FROM shell\nRUN echo kept > /kept\n");
  EXPECT_TRUE(fixture_.progress.started.empty());
}

TEST_F(ParallelTest, TheSameStepInTwoStagesIsExecutedOnce) {
  fixture_.request.jobs = 2;
  fixture_.build(
      "FROM shell AS a\nRUN sleep 0.1; echo same > /same\n"
      "FROM shell AS b\nRUN sleep 0.1; echo same > /same\n"
      "FROM scratch\nCOPY --from=a /same /1\nCOPY --from=b /same /2\n");
  const auto& started = fixture_.progress.started;
  EXPECT_EQ(std::count(started.begin(), started.end(), "RUN sleep 0.1; echo same > /same"), 1);
}

TEST_F(ParallelTest, ConcurrentBuildsExecuteAStepOnce) {
  const std::string dockerfile = "FROM shell\nRUN sleep 0.2; echo once > /once\n";
  const auto build = [&] {
    fixture_.build(dockerfile);
    return std::to_string(fixture_.progress.started.size());
  };
  Child first = Child::fork(build);
  Child second = Child::fork(build);
  Child third = Child::fork(build);
  std::vector<std::string> counts{first.finish(), second.finish(), third.finish()};
  std::sort(counts.begin(), counts.end());
  EXPECT_EQ(text::join(counts, " "), "0 0 1");
}

TEST_F(ParallelTest, AnotherBuildTakesOverAfterTheOneThatHadTheStepFailed) {
  // The first build is killed in the middle of the step that the second one waits for.
  const std::string dockerfile = "FROM shell\nRUN sleep 0.3; echo x > /x\n";
  Child first = Child::fork([&] {
    fixture_.build(dockerfile);
    return std::string{};
  });
  const Pipe waiting = Pipe::make();
  Child second = Child::fork([&] {
    writeAll(waiting.write.get(), "x", "pipe");
    fixture_.build(dockerfile);
    return std::to_string(fixture_.progress.started.size());
  });
  char byte = 0;
  ASSERT_EQ(::read(waiting.read.get(), &byte, 1), 1);
  first.kill(SIGKILL);
  EXPECT_THROW(first.finish(), Error);
  EXPECT_EQ(second.finish(), "1");
}

TEST_F(ParallelTest, NoCacheFilterExecutesTheNamedStageOnly) {
  fixture_.build(kTwoStages);
  fixture_.request.noCacheStages = {"b"};
  fixture_.build(kTwoStages);
  EXPECT_EQ(text::join(fixture_.progress.started, "; "), "RUN sleep 0.2; echo b > /b");
}

// A layer made over what an earlier execution left must not come to lie over another one.
TEST_F(ParallelTest, WhatStandsOnACommandThatRanAgainRunsAgain) {
  const std::string file =
      "FROM shell AS a\nRUN cat /proc/sys/kernel/random/uuid > /a\n"
      "FROM a AS b\nRUN cp /a /b\nRUN cmp /a /b && cat /b\n";
  fixture_.build(file);
  const std::string first = std::exchange(fixture_.progress.output, {});
  fixture_.request.noCacheStages = {"a"};
  fixture_.build(file);
  const std::string second = std::exchange(fixture_.progress.output, {});
  EXPECT_EQ(second.size(), first.size());
  EXPECT_NE(second, first);
  fixture_.request.noCacheStages = {};
  fixture_.build(file);
  EXPECT_TRUE(fixture_.progress.started.empty()) << "the newest result of each step is found";
}

TEST_F(ParallelTest, ALostRecordBelowIsAMissForWhatStandsOnIt) {
  const std::string file =
      "FROM shell\nRUN cat /proc/sys/kernel/random/uuid > /a\nRUN cp /a /b\nRUN cmp /a /b\n";
  fixture_.build(file);
  const Fd records = sys::openDirectory(fixture_.layout.fd(), "cache/steps");
  for (const fs::Entry& entry : fs::list(records.get())) {
    if (fs::readFile(records.get(), entry.name).find("random/uuid") != std::string::npos)
      sys::unlinkat(records.get(), entry.name, 0);
  }
  fixture_.build(file);
  EXPECT_EQ(fixture_.progress.started.size(), 3u);
}

TEST_F(ParallelTest, TheTimeoutEndsTheBuildWithItsOwnExitCode) {
  fixture_.request.timeoutSeconds = 1;
  const Error error = fixture_.failure("FROM shell\nRUN sleep 60\n");
  EXPECT_EQ(error.exitCode(), 124);
  EXPECT_EQ(error.cause(), "the build took longer than --timeout 1s");
  EXPECT_EQ(log().back(), "failed RUN sleep 60: cancelled");
}

TEST_F(ParallelTest, AStepThatRanAgainAndMadeTheSameFilesInvalidatesNothing) {
  // Two layers with the same bytes need the same file times.
  const std::string dockerfile =
      "FROM shell AS a\nRUN echo a > /a; touch -d @1000 /a /\n"
      "FROM a AS b\nRUN cp /a /b; touch -d @1000 /b /\nRUN cat /b > /c\n";
  const store::Image first = fixture_.build(dockerfile);
  fixture_.request.noCacheStages = {"a"};
  const store::Image second = fixture_.build(dockerfile);
  EXPECT_EQ(text::join(fixture_.progress.started, "; "), "RUN echo a > /a; touch -d @1000 /a /");
  EXPECT_EQ(first.config.diffIds, second.config.diffIds);
}

TEST_F(ParallelTest, AStepThatRanAgainAndMadeOtherFilesInvalidatesWhatFollows) {
  const std::string dockerfile =
      "FROM shell AS a\nRUN cat /proc/sys/kernel/random/uuid > /a\nFROM a AS b\nRUN cp /a /b\n";
  const store::Image first = fixture_.build(dockerfile);
  fixture_.request.noCacheStages = {"a"};
  const store::Image second = fixture_.build(dockerfile);
  EXPECT_EQ(fixture_.progress.started.size(), 2U);
  EXPECT_NE(first.config.diffIds.back(), second.config.diffIds.back());
}

TEST_F(ParallelTest, StepNumbersFollowThePlanWhateverEndsFirst) {
  fixture_.build(kTwoStages);
  EXPECT_EQ(fixture_.progress.outline.steps, 6);
  ASSERT_EQ(fixture_.result.reports.size(), 6U);
  for (size_t i = 0; i < 6; ++i)
    EXPECT_EQ(fixture_.result.reports[i].label.number, static_cast<int>(i) + 1);
  EXPECT_TRUE(fixture_.progress.outline.skippedStages.empty());
}

TEST_F(ParallelTest, TheOutlineNamesTheStagesThatAreNotNeeded) {
  fixture_.build("FROM shell AS unused\nRUN exit 1\nFROM shell\nRUN true\n");
  const auto& skipped = fixture_.progress.outline.skippedStages;
  ASSERT_EQ(skipped.size(), 1U);
  EXPECT_EQ(skipped[0].first, "unused");
  EXPECT_EQ(skipped[0].second, 1);
}

}  // namespace
}  // namespace img::builder
