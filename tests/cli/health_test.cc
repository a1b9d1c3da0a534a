#include "cli/health.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "cli/health_options.h"
#include "cli/restart_policy.h"

namespace img::cli {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using Strings = std::vector<std::string>;

store::ContainerConfig withImageCheck(const Strings& test) {
  store::ContainerConfig config;
  config.image.healthcheck = store::Healthcheck{test, 0, 0, 0, 0, 0};
  return config;
}

TEST(HealthPlan, IsMissingWithoutAnyCheck) {
  EXPECT_FALSE(healthPlanOf({}));
  EXPECT_FALSE(healthPlanOf(withImageCheck({"NONE"})));
  store::ContainerConfig off = withImageCheck({"CMD", "true"});
  off.health.isDisabled = true;
  EXPECT_FALSE(healthPlanOf(off));
}

TEST(HealthPlan, TakesTheImagesCheckWithTheDefaults) {
  const auto plan = healthPlanOf(withImageCheck({"CMD", "curl", "-f", "localhost"}));
  ASSERT_TRUE(plan);
  EXPECT_EQ(plan->argv, (Strings{"curl", "-f", "localhost"}));
  EXPECT_EQ(plan->interval, seconds{30});
  EXPECT_EQ(plan->timeout, seconds{30});
  EXPECT_EQ(plan->startPeriod, seconds{0});
  EXPECT_EQ(plan->startInterval, seconds{5});
  EXPECT_EQ(plan->retries, 3);
}

TEST(HealthPlan, LetsOptionsReplaceTheirOwnPartOfTheImagesCheck) {
  store::ContainerConfig config = withImageCheck({"CMD", "true"});
  config.image.healthcheck->retries = 7;
  config.image.healthcheck->interval = 5'000'000'000;
  config.health.interval = 1'000'000'000;
  const auto plan = healthPlanOf(config);
  ASSERT_TRUE(plan);
  EXPECT_EQ(plan->interval, seconds{1});
  EXPECT_EQ(plan->retries, 7);
  EXPECT_EQ(plan->argv, Strings{"true"});
}

TEST(HealthPlan, GivesTheKeeperARestWhateverTheImageSays) {
  store::ContainerConfig config = withImageCheck({"CMD", "true"});
  config.image.healthcheck->interval = 1;
  config.image.healthcheck->startInterval = 1;
  config.image.healthcheck->timeout = 1;
  const auto plan = healthPlanOf(config);
  ASSERT_TRUE(plan);
  EXPECT_EQ(plan->interval, milliseconds{1});
  EXPECT_EQ(plan->startInterval, milliseconds{1});
  EXPECT_EQ(plan->timeout, milliseconds{1});
}

TEST(HealthPlan, RunsACommandLineInTheImagesShell) {
  store::ContainerConfig config = withImageCheck({"CMD-SHELL", "a || b"});
  EXPECT_EQ(healthPlanOf(config)->argv, (Strings{"/bin/sh", "-c", "a || b"}));
  config.image.shell = {"/bin/ash", "-ec"};
  EXPECT_EQ(healthPlanOf(config)->argv, (Strings{"/bin/ash", "-ec", "a || b"}));
}

class HealthResults : public testing::Test {
 protected:
  bool add(int exitCode, bool inStartPeriod = false) {
    HealthResult result;
    result.exitCode = exitCode;
    return addHealthResult(plan_, result, inStartPeriod, state_);
  }
  HealthPlan plan_;
  store::ContainerState state_ = [] {
    store::ContainerState state;
    state.healthStatus = "starting";
    return state;
  }();
};

TEST_F(HealthResults, MakeItHealthyAtTheFirstSuccess) {
  EXPECT_FALSE(add(1));
  EXPECT_EQ(state_.failingStreak, 1);
  EXPECT_FALSE(add(0));
  EXPECT_EQ(state_.healthStatus, "healthy");
  EXPECT_EQ(state_.failingStreak, 0);
}

TEST_F(HealthResults, MakeItUnhealthyAfterSoManyFailuresAndSayItOnce) {
  add(0);
  EXPECT_FALSE(add(1));
  EXPECT_FALSE(add(-1));
  EXPECT_EQ(state_.healthStatus, "healthy");
  EXPECT_TRUE(add(1));
  EXPECT_EQ(state_.healthStatus, "unhealthy");
  EXPECT_FALSE(add(1));
  EXPECT_EQ(state_.failingStreak, 4);
}

TEST_F(HealthResults, DoNotCountInTheStartPeriodUntilItWasHealthy) {
  for (int i = 0; i < 10; ++i) EXPECT_FALSE(add(1, true));
  EXPECT_EQ(state_.healthStatus, "starting");
  EXPECT_EQ(state_.failingStreak, 0);
  add(0, true);
  add(1, true);
  EXPECT_EQ(state_.failingStreak, 1) << "it had been healthy";
}

TEST_F(HealthResults, AreKeptUpToFive) {
  for (int i = 1; i <= 8; ++i) add(i);
  ASSERT_EQ(state_.healthLog.size(), kMaxHealthResults);
  EXPECT_EQ(state_.healthLog.front().exitCode, 4);
  EXPECT_EQ(state_.healthLog.back().exitCode, 8);
}

TEST(HealthOptions, BecomeARecord) {
  HealthRequest request;
  request.command = "test -e /ready";
  request.interval = 2'000'000'000;
  request.retries = 5;
  request.onFailure = "kill";
  const store::HealthRecord record = healthRecordOf(request);
  EXPECT_EQ(record.test, (Strings{"CMD-SHELL", "test -e /ready"}));
  EXPECT_EQ(record.interval, 2'000'000'000);
  EXPECT_EQ(record.retries, 5);
  EXPECT_EQ(record.onFailure, "kill");
  request.command = R"(["/probe", "a b"])";
  EXPECT_EQ(healthRecordOf(request).test, (Strings{"CMD", "/probe", "a b"}));
  request.command = "none";
  EXPECT_EQ(healthRecordOf(request).test, Strings{"NONE"});
}

struct BadHealth {
  const char* name;
  void (*spoil)(HealthRequest&);
};
void PrintTo(const BadHealth& one, std::ostream* out) {
  *out << one.name;
}
const BadHealth kBadHealth[] = {
    {"Empty", [](HealthRequest& r) { r.command = ""; }},
    {"NoWords", [](HealthRequest& r) { r.command = "[]"; }},
    {"WrongArray", [](HealthRequest& r) { r.command = "[1]"; }},
    {"Action", [](HealthRequest& r) { r.onFailure = "explode"; }},
    {"Retries", [](HealthRequest& r) { r.retries = 0; }},
    {"Interval", [](HealthRequest& r) { r.interval = 10; }},
    {"Timeout", [](HealthRequest& r) { r.timeout = 0; }},
    {"Both", [](HealthRequest& r) { r.isDisabled = true, r.command = "true"; }}};
class BadHealthOptions : public testing::TestWithParam<BadHealth> {};
TEST_P(BadHealthOptions, AreRefused) {
  HealthRequest request;
  GetParam().spoil(request);
  EXPECT_THROW(healthRecordOf(request), Error);
}
INSTANTIATE_TEST_SUITE_P(Values, BadHealthOptions, testing::ValuesIn(kBadHealth),
                         [](const auto& test) { return std::string{test.param.name}; });

TEST(Restart, PoliciesAreRead) {
  EXPECT_EQ(parseRestart("no").policy, "");
  EXPECT_EQ(parseRestart("").policy, "");
  EXPECT_EQ(parseRestart("always").policy, "always");
  EXPECT_EQ(parseRestart("on-failure").maximum, 0);
  EXPECT_EQ(parseRestart("on-failure:4").maximum, 4);
  for (const char* bad : {"sometimes", "always:3", "on-failure:x", "on-failure:-1"}) {
    EXPECT_THROW(parseRestart(bad), Error) << bad;
  }
}

TEST(Restart, FollowsThePolicy) {
  EXPECT_FALSE(isRestartWanted({"", 0}, 1, 0));
  EXPECT_TRUE(isRestartWanted({"always", 0}, 0, 99));
  EXPECT_TRUE(isRestartWanted({"unless-stopped", 0}, 0, 99));
  EXPECT_FALSE(isRestartWanted({"on-failure", 0}, 0, 0));
  EXPECT_TRUE(isRestartWanted({"on-failure", 0}, 1, 99));
  EXPECT_TRUE(isRestartWanted({"on-failure", 2}, 1, 1));
  EXPECT_FALSE(isRestartWanted({"on-failure", 2}, 1, 2));
}

TEST(Restart, WaitsLongerEachTimeUntilItRanForAWhile) {
  std::chrono::milliseconds delay{};
  for (const int expected : {100, 200, 400, 800}) {
    delay = restartDelay(delay, milliseconds{50});
    EXPECT_EQ(delay.count(), expected);
  }
  EXPECT_EQ(restartDelay(milliseconds{50'000}, milliseconds{1}), milliseconds{60'000});
  EXPECT_EQ(restartDelay(milliseconds{800}, seconds{10}), milliseconds{100});
}

}  // namespace
}  // namespace img::cli
