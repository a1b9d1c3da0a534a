#include "cli/explain.h"

#include <gtest/gtest.h>

#include <cstdlib>

#include "base/error.h"
#include "cli/plan.h"

namespace img::cli {
namespace {

constexpr long long kNow = 1787313600;  // 2026-08-21T12:00:00Z

class ExplainLines : public testing::Test {
 protected:
  // Times of day are local ones.
  void SetUp() override {
    ::setenv("TZ", "UTC", 1);  // NOLINT(concurrency-mt-unsafe): one thread
    ::tzset();
  }
  builder::Explanation explanation_;
  builder::Miss& miss_ = explanation_.miss;
};

TEST_F(ExplainLines, ListEveryChangeWithItsMark) {
  miss_.reason = "file";
  miss_.text = "4 files changed";
  miss_.changes = {{"file", "src/handler.c", "9b1c2d00", "77ad0100", "content", 4100, 4200},
                   {"file", "scripts/run.sh", "0755", "0775", "mode"},
                   {"file", "src/new.c", "", "file", "added"},
                   {"file", "src/old.c", "file", "", "removed"}};
  miss_.comparedWith = "8f3a2c";
  miss_.comparedAt = "2026-08-21T10:02:00Z";
  miss_.hint = "only modes differ under scripts/; --context-perms=git ignores group and other bits";
  EXPECT_EQ(
      explainLines(explanation_, false, kNow),
      (std::vector<std::string>{
          "   miss: 4 inputs changed since build 8f3a2c (today 10:02)",
          "     ~ src/handler.c       content 9b1c2d… → 77ad01…  (4.1kB → 4.2kB)",
          "     m scripts/run.sh      mode 0755 → 0775", "     + src/new.c", "     - src/old.c",
          "   hint: only modes differ under scripts/; --context-perms=git ignores group and "
          "other bits"}));
}

TEST_F(ExplainLines, SayWhatAParentAndAFirstBuildAre) {
  miss_.reason = "parent";
  miss_.text = "parent #5";
  miss_.changes = {{"parent", "#5", "", ""}};
  miss_.comparedWith = "8f3a2c";
  EXPECT_EQ(explainLines(explanation_, false, kNow),
            std::vector<std::string>{"   miss: parent #5"});
  miss_ = {};
  miss_.reason = "first-build";
  miss_.text = "first build";
  EXPECT_EQ(explainLines(explanation_, false, kNow),
            std::vector<std::string>{"   miss: first build"});
}

TEST_F(ExplainLines, ShowBothValuesAndShortenDigests) {
  miss_.reason = "base";
  miss_.text = "base debian:12 changed";
  miss_.changes = {{"base", "debian:12", Digest::of("1").str(), Digest::of("2").str()},
                   {"arg", "V", "", "a\x1b[2J"}};
  const std::vector<std::string> lines = explainLines(explanation_, false, kNow);
  EXPECT_EQ(lines.at(1), "     ~ base debian:12      sha256:" + Digest::of("1").shortHex() +
                             " → sha256:" + Digest::of("2").shortHex());
  EXPECT_EQ(lines.at(2).find('\x1b'), std::string::npos);
  EXPECT_NE(lines.at(2).find("(empty) → a"), std::string::npos);
}

TEST_F(ExplainLines, StopAfterTwentyUnlessAllAreAskedFor) {
  miss_.reason = "file";
  for (int i = 0; i < 152; ++i)
    miss_.changes.push_back({"file", "f" + std::to_string(i), "", "file", "added"});
  const std::vector<std::string> lines = explainLines(explanation_, false, kNow);
  EXPECT_EQ(lines.size(), 22U);
  EXPECT_EQ(lines.front(), "   miss: 152 inputs changed");
  EXPECT_EQ(lines.back(), "     … and 132 more (--explain=all)");
  EXPECT_EQ(explainLines(explanation_, true, kNow).size(), 153U);
}

TEST_F(ExplainLines, NameTheMakerOfAHitOnlyWithAll) {
  explanation_.isHit = true;
  explanation_.madeBy = "8f3a2c";
  explanation_.madeAt = "2026-08-20T10:02:00Z";
  EXPECT_TRUE(explainLines(explanation_, false, kNow).empty());
  EXPECT_EQ(explainLines(explanation_, true, kNow),
            std::vector<std::string>{"   hit: made by build 8f3a2c (yesterday 10:02)"});
  explanation_.madeAt = "2026-01-31T09:00:00Z";
  EXPECT_EQ(explainLines(explanation_, true, kNow),
            std::vector<std::string>{"   hit: made by build 8f3a2c (2026-01-31 09:00)"});
}

TEST_F(ExplainLines, TellWhoRemovedALayerAndWhen) {
  miss_.reason = "evicted";
  miss_.text = "layer removed by img builder prune";
  miss_.changes = {{"evicted", "img builder prune", "", "2026-08-21T09:00:00Z", "removed"}};
  EXPECT_EQ(explainLines(explanation_, false, kNow),
            std::vector<std::string>{"   miss: layer removed by img builder prune, today 09:00"});
}

TEST(ExplainJson, IsOneObjectWithKeysInOrder) {
  builder::StepLabel step;
  step.number = 5;
  step.line = 9;
  step.text = "COPY . /src";
  builder::Explanation why;
  why.miss.reason = "file";
  why.miss.comparedWith = "8f3a2c";
  why.miss.changes = {{"file", "a\xff", "0755", "0775", "mode"}};
  EXPECT_EQ(explainJson(step, why),
            "{\"step\":5,\"line\":9,\"instruction\":\"COPY . /src\",\"result\":\"miss\","
            "\"reason\":\"file\",\"compared_with\":\"8f3a2c\",\"changes\":[{\"kind\":\"file\","
            "\"name\":\"a\xef\xbf\xbd\",\"old\":\"0755\",\"new\":\"0775\",\"field\":\"mode\"}]}");
}

TEST(ExplainMode, KnowsItsWords) {
  EXPECT_EQ(explainMode(""), ExplainMode::none);
  EXPECT_EQ(explainMode("text"), ExplainMode::text);
  EXPECT_EQ(explainMode("all"), ExplainMode::all);
  EXPECT_EQ(explainMode("json"), ExplainMode::json);
  EXPECT_THROW(explainMode("yaml"), Error);
}

TEST(PlanOptions, AreCheckedAndHandedOn) {
  builder::Request request;
  PlanOptions options;
  options.contextPermissions = "git";
  options.cacheTtl = 90'000'000'000;
  options.apply(request);
  EXPECT_TRUE(request.hasGitPermissions);
  EXPECT_EQ(request.cacheTtl, 90);
  options.contextPermissions = "hg";
  EXPECT_THROW(options.apply(request), Error);
}

}  // namespace
}  // namespace img::cli
