#include "cli/build_summary.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "base/json.h"
#include "tests/cli/progress_support.h"

namespace img::cli {
namespace {

// A build of four steps: one cached, one of 9.8 s, one quick one, one that was never reached.
class SummaryTest : public testing::Test {
 protected:
  SummaryTest() {
    build.outline.skippedStages = {{"test", 20}};
    build.hub.planned(build.outline);
    build.cached(1);
    build.start(2, "src/a | changed");
    build.pass(9800);
    build.done(2);
    build.sealed(2, 12'100'000);
    build.start(4);
    build.pass(300);
    build.done(4);
    result.imageId = Digest::of("image");
    result.manifest = Digest::of("manifest");
    result.bytes = 84'200'000;
    result.newBytes = 12'300'000;
    result.steps = 3;
    result.cachedSteps = 1;
    result.buildId = "8f3a2c";
  }
  BuildOutcome outcome() {
    return {build.hub.view(), &result, nullptr, {"docker.io/library/app:latest"},
            "Dockerfile",     14.1};
  }
  BuildOutcome failure(const Error& error) {
    BuildOutcome failed = outcome();
    failed.result = nullptr;
    failed.error = &error;
    return failed;
  }
  builder::Waste waste(std::uint64_t bytes) {
    return {bytes, PlayedBuild::step(1), PlayedBuild::step(2), false};
  }

  PlayedBuild build;
  builder::Result result;
};

TEST_F(SummaryTest, TellsWhatWasBuiltWhatWasSlowAndWhatWasSkipped) {
  EXPECT_EQ(summaryText(outcome(), SummaryKind::brief),
            "built docker.io/library/app:latest  sha256:" + Digest::of("image").shortHex() +
                "  84.2MB (12.3MB new)  14.1s  1 of 3 cached\n"
                "slowest  [build 1/2] RUN make -j2 (Dockerfile:12)  9.8s\n"
                "skipped  stage \"test\" (Dockerfile:20), not needed for the target\n");
  EXPECT_EQ(summaryText(outcome(), SummaryKind::off), "");
}

TEST_F(SummaryTest, SaysNothingOfAStepThatTookFiveSeconds) {
  PlayedBuild quick;
  quick.hub.planned(quick.outline);
  quick.start(2);
  quick.pass(5000);
  quick.done(2);
  const BuildOutcome end{quick.hub.view(), &result, nullptr, {}, "Dockerfile", 5};
  EXPECT_EQ(summaryText(end, SummaryKind::brief).find("slowest"), std::string::npos);
}

TEST_F(SummaryTest, NamesAtMostThreeWastesAndOnlyLargeOnesAfterTheFirst) {
  const auto lines = [&] {
    const std::string text = summaryText(outcome(), SummaryKind::brief);
    size_t count = 0;
    for (size_t at = 0; (at = text.find("wasted   ", at)) != std::string::npos; ++at) ++count;
    return count;
  };
  result.wasted = {waste(900'000), waste(800'000)};
  EXPECT_EQ(lines(), 1u);
  result.wasted = {waste(5'000'000), waste(4'000'000), waste(3'000'000), waste(2'000'000)};
  EXPECT_EQ(lines(), 3u);
  EXPECT_NE(summaryText(outcome(), SummaryKind::brief)
                .find("wasted   5MB  Dockerfile:12 make -j2 copies files of Dockerfile:11; "),
            std::string::npos);
}

TEST_F(SummaryTest, PrintsATableOfTheSteps) {
  const std::string text = summaryText(outcome(), SummaryKind::full);
  EXPECT_TRUE(text.starts_with(
      "STEP   LINE   TIME   SIZE     CACHED   REASON            INSTRUCTION\n"
      "1      11     -      -        yes      -                 [base 1/1] FROM debian:12\n"
      "2      12     9.8s   12.1MB   no       src/a | changed   [build 1/2] RUN make -j2\n"
      "4      14     0.3s   -        no       -                 [build 2/2] COPY . /src\n"
      "built "))
      << text;
}

TEST_F(SummaryTest, WritesTheTableAsMarkdown) {
  const std::string text = summaryMarkdown(outcome());
  EXPECT_TRUE(
      text.starts_with("| STEP | LINE | TIME | SIZE | CACHED | REASON | INSTRUCTION |\n"
                       "| --- | --- | --- | --- | --- | --- | --- |\n"))
      << text;
  EXPECT_NE(text.find("| src/a \\| changed |"), std::string::npos) << text;
}

TEST_F(SummaryTest, WritesTheMetadataOfAResult) {
  builder::StepReport report;
  report.label = PlayedBuild::step(2);
  report.bytes = 77;
  report.reason = "file";
  result.reports = {report};
  const Json json = parseJson(metadataJson(outcome(), 1003), "metadata");
  EXPECT_EQ(json.at("containerimage.config.digest"), Digest::of("image").str());
  EXPECT_EQ(json.at("containerimage.digest"), Digest::of("manifest").str());
  EXPECT_EQ(json.at("containerimage.descriptor").at("size"), 1003);
  EXPECT_EQ(json.at("image.name"), "docker.io/library/app:latest");
  EXPECT_EQ(json.at("img.build.id"), "8f3a2c");
  EXPECT_FALSE(json.contains("img.error"));
  const Json& steps = json.at("img.steps");
  ASSERT_EQ(steps.size(), 3u);
  EXPECT_EQ(steps[0].at("cached"), true);
  EXPECT_EQ(steps[1], (Json{{"index", 2},
                            {"line", 12},
                            {"stage", "build 1/2"},
                            {"instruction", "RUN make -j2"},
                            {"cached", false},
                            {"reason", "file"},
                            {"seconds", 9.8},
                            {"bytes", 77}}));
}

TEST_F(SummaryTest, WritesTheMetadataOfAFailure) {
  Error error{Kind::failed, "RUN failed with exit code 2"};
  error.exitCode(2);
  build.start(3);
  build.fail(3, "RUN failed with exit code 2");
  const Json json = parseJson(metadataJson(failure(error), 0), "metadata");
  EXPECT_EQ(json.at("img.error").at("error"), "RUN failed with exit code 2");
  EXPECT_EQ(json.at("img.error").at("exit_code"), 2);
  EXPECT_FALSE(json.contains("containerimage.digest"));
  EXPECT_EQ(json.at("img.steps").at(2).at("error"), "RUN failed with exit code 2");
}

TEST_F(SummaryTest, RecordsTheBuildForItsLogs) {
  const Json json = parseJson(recordJson(outcome(), 1'700'000'000), "record");
  EXPECT_EQ(json.at("id"), "8f3a2c");
  EXPECT_EQ(json.at("created"), "2023-11-14T22:13:20Z");
  EXPECT_EQ(json.at("image"), Digest::of("image").str());
  EXPECT_EQ(json.at("steps").size(), 3u);
}

}  // namespace
}  // namespace img::cli
