#include "registry/retry.h"

#include <gtest/gtest.h>

namespace img::registry {
namespace {

constexpr std::time_t kNow = 1'767'608'430;  // Mon, 05 Jan 2026 10:20:30 GMT

struct Case {
  std::string_view name, value;
  std::int64_t expected;  // -1: none
};
void PrintTo(const Case& c, std::ostream* out) {
  *out << c.value;
}

constexpr Case kCases[] = {
    {"Seconds", "5", 5000},
    {"Zero", "0", 0},
    {"Blanks", "  7 ", 7000},
    {"Date", "Mon, 05 Jan 2026 10:21:00 GMT", 30'000},
    {"OldDateForm", "Monday, 05-Jan-26 10:21:00 GMT", 30'000},
    {"PastDate", "Mon, 05 Jan 2026 10:00:00 GMT", 0},
    {"FarDate", "Mon, 05 Jan 2099 10:00:00 GMT", 366LL * 86'400'000},
    {"ManySeconds", "99999999999999", 366LL * 86'400'000},
    {"TooManyDigits", "99999999999999999999999999", -1},
    {"Nothing", "", -1},
    {"Negative", "-5", -1},
    {"Words", "soon", -1},
    {"Fraction", "1.5", -1},
};
class RetryAfter : public testing::TestWithParam<Case> {};
TEST_P(RetryAfter, IsMilliseconds) {
  EXPECT_EQ(retryAfterMs(GetParam().value, kNow).value_or(-1), GetParam().expected);
}
INSTANTIATE_TEST_SUITE_P(Values, RetryAfter, testing::ValuesIn(kCases),
                         [](const auto& test) { return std::string{test.param.name}; });

Outcome answered(long status, const std::string& retryAfter = "") {
  Outcome outcome{HttpAnswer{Url::parse("https://r.example/v2/")}};
  outcome.answer.status = status;
  if (!retryAfter.empty()) outcome.answer.headers["retry-after"] = retryAfter;
  return outcome;
}

Outcome broken(bool mayPass) {
  Outcome outcome = answered(0);
  outcome.failure = Error{Kind::failed, "broken"};
  outcome.mayPass = mayPass;
  return outcome;
}

int triesOf(RetryRules rules, const Outcome& outcome) {
  Backoff backoff{rules};
  while (backoff.next(outcome)) {
  }
  return backoff.tries();
}

TEST(Backoff, TriesAsOftenAsTheRulesSay) {
  EXPECT_EQ(triesOf({0, 0}, broken(true)), 3);
  EXPECT_EQ(triesOf({0, 0}, answered(503)), 5);
  EXPECT_EQ(triesOf({4, 10}, broken(true)), 4);
  EXPECT_EQ(triesOf({4, 10}, answered(500)), 4);
  EXPECT_EQ(triesOf({1, 10}, answered(503)), 1);
  EXPECT_EQ(triesOf({1, 10}, answered(429)), 1);
}

TEST(Backoff, MayHaveLessPatienceWithAHostThatIsAway) {
  Outcome away = broken(true);
  away.failure->code("unreachable");
  EXPECT_EQ(triesOf({4, 10, 2}, away), 2);
  EXPECT_EQ(triesOf({0, 0, 2}, away), 2);
  EXPECT_EQ(triesOf({1, 0, 2}, away), 1);
  EXPECT_EQ(triesOf({4, 10, 0}, away), 4);
  EXPECT_EQ(triesOf({4, 10, 2}, answered(503)), 4);
  EXPECT_EQ(triesOf({4, 10, 2}, broken(true)), 4);
}

TEST(Backoff, LeavesAloneWhatStays) {
  for (const long status : {200, 206, 301, 400, 401, 403, 404, 416, 501, 505}) {
    EXPECT_EQ(triesOf({4, 10}, answered(status)), 1) << status;
  }
  EXPECT_EQ(triesOf({4, 10}, broken(false)), 1);
}

// Within a quarter of `expected`.
void expectAbout(std::int64_t value, std::int64_t expected) {
  EXPECT_GE(value, expected * 3 / 4);
  EXPECT_LE(value, expected * 5 / 4);
}

TEST(Backoff, DoublesUpToEightSeconds) {
  Backoff backoff{{20, 1000}};
  for (const std::int64_t expected : {1000, 2000, 4000, 8000, 8000, 8000}) {
    expectAbout(backoff.next(broken(true)).value_or(-1), expected);
  }
  backoff.reset();
  expectAbout(backoff.next(broken(true)).value_or(-1), 1000);
  Backoff defaults{{0, 0}};
  expectAbout(defaults.next(answered(502)).value_or(-1), 500);
}

TEST(Backoff, WaitsAMinuteAtMostForAServerThatIsDown) {
  Backoff backoff{{4, 10}};
  EXPECT_EQ(backoff.next(answered(503, "7")), 7000);
  EXPECT_EQ(backoff.next(answered(503, "3600")), 60'000);
}

TEST(Backoff, WaitsFiveMinutesInAllForALimit) {
  Backoff backoff{{2, 10}};
  for (int i = 0; i < 5; ++i) EXPECT_EQ(backoff.next(answered(429, "60")), 60'000);
  EXPECT_EQ(backoff.next(answered(429, "60")), std::nullopt);
  EXPECT_EQ(backoff.tries(), 6);
  EXPECT_EQ((Backoff{{4, 10}}.next(answered(429, "301"))), std::nullopt);
}

TEST(Backoff, EndsWithAServerThatAsksForNoPause) {
  EXPECT_LT(triesOf({4, 1000}, answered(429, "0")), 60);
}

}  // namespace
}  // namespace img::registry
