#include "cli/human.h"

#include <gtest/gtest.h>

#include <ostream>

#include "tests/cli/command_line.h"

namespace img::cli {
namespace {

constexpr long long kMinute = 60, kHour = 3600, kDay = 86400;

struct AgeCase {
  long long seconds;
  std::string_view expected;
};
void PrintTo(const AgeCase& c, std::ostream* out) {
  *out << c.seconds << " s";
}

class Age : public testing::TestWithParam<AgeCase> {};
TEST_P(Age, IsSaidAsDockerSaysIt) {
  EXPECT_EQ(formatAge(GetParam().seconds), GetParam().expected);
}
constexpr AgeCase kAges[] = {
    {-5, "Less than a second"},
    {0, "Less than a second"},
    {1, "1 second"},
    {2, "2 seconds"},
    {59, "59 seconds"},
    {60, "About a minute"},
    {119, "About a minute"},
    {120, "2 minutes"},
    {kHour - 1, "59 minutes"},
    {kHour, "About an hour"},
    {89 * kMinute, "About an hour"},
    {90 * kMinute, "2 hours"},
    {47 * kHour, "47 hours"},
    {48 * kHour, "2 days"},
    {13 * kDay, "13 days"},
    {14 * kDay, "2 weeks"},
    {59 * kDay, "8 weeks"},
    {60 * kDay, "2 months"},
    {729 * kDay, "24 months"},
    {730 * kDay, "2 years"},
    {3650 * kDay, "10 years"},
};
INSTANTIATE_TEST_SUITE_P(Seconds, Age, testing::ValuesIn(kAges));

struct SizeCase {
  std::uint64_t bytes;
  int digits;
  std::string_view expected;
};
void PrintTo(const SizeCase& c, std::ostream* out) {
  *out << c.bytes << " B";
}

class HumanSize : public testing::TestWithParam<SizeCase> {};
TEST_P(HumanSize, HasFewDigitsAndNoExponent) {
  EXPECT_EQ(formatSize(GetParam().bytes, GetParam().digits), GetParam().expected);
}
constexpr SizeCase kSizes[] = {
    {0, 3, "0B"},
    {66, 3, "66B"},
    {999, 3, "999B"},
    {1000, 3, "1kB"},
    {1984000, 3, "1.98MB"},
    {1984000, 4, "1.984MB"},
    {181'400'000, 3, "181MB"},
    {999'499, 3, "999kB"},
    {999'500, 3, "1MB"},
    {999'999, 3, "1MB"},
    {999'999'999, 4, "1GB"},
    {1'500'000'000'000, 3, "1.5TB"},
    {2'000'000'000'000'000, 3, "2PB"},
    {18'446'744'073'709'551'615U, 3, "18447PB"},
};
INSTANTIATE_TEST_SUITE_P(Bytes, HumanSize, testing::ValuesIn(kSizes));

TEST(Created, SaysAgoOrThatItIsNotKnown) {
  EXPECT_EQ(formatCreated("1970-01-01T00:01:00Z", 180), "2 minutes ago");
  EXPECT_EQ(formatCreated("", 180), "N/A");
  EXPECT_EQ(formatCreated("soon", 180), "N/A");
}

TEST(LocalTime, NamesItsZone) {
  const ScopedVariable zone{"TZ", "UTC"};
  EXPECT_EQ(formatLocalTime("2023-11-14T22:13:20.5Z"), "2023-11-14 22:13:20 +0000 UTC");
  EXPECT_EQ(formatLocalTime("x"), "");
}

TEST(Ellipsis, CountsCharactersNotBytes) {
  EXPECT_EQ(ellipsis("abc", 3), "abc");
  EXPECT_EQ(ellipsis("abcd", 3), "ab…");
  EXPECT_EQ(ellipsis("äöüß", 4), "äöüß");
  EXPECT_EQ(ellipsis("äöüßx", 4), "äöü…");
}

TEST(FormatBinarySize, CountsInPowersOf1024) {
  EXPECT_EQ(formatBinarySize(0), "0B");
  EXPECT_EQ(formatBinarySize(1023), "1023B");
  EXPECT_EQ(formatBinarySize(1024), "1KiB");
  EXPECT_EQ(formatBinarySize(64ULL << 20), "64MiB");
  EXPECT_EQ(formatBinarySize((64ULL << 20) + (1 << 19)), "64.5MiB");
  EXPECT_EQ(formatBinarySize(25'276'000'000ULL), "23.54GiB");
}

}  // namespace
}  // namespace img::cli
