#include "cli/values.h"

#include <gtest/gtest.h>

#include <optional>
#include <ostream>

#include "base/error.h"
#include "tests/cli/command_line.h"

namespace img::cli {
namespace {

struct NumberCase {
  std::string_view text;
  std::optional<long long> expected;  // nullopt: refused
};
void PrintTo(const NumberCase& c, std::ostream* out) {
  *out << '"' << c.text << '"';
}

template <class Parse>
void check(const NumberCase& c, Parse&& parse) {
  if (c.expected) {
    EXPECT_EQ(parse(c.text), *c.expected);
    return;
  }
  try {
    (void)parse(c.text);
    FAIL() << "accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), Kind::usage);
    EXPECT_NE(error.cause().find("--x"), std::string::npos) << error.cause();
  }
}

class Size : public testing::TestWithParam<NumberCase> {};
TEST_P(Size, IsReadAsBytes) {
  check(GetParam(), [](std::string_view text) { return parseSize(text, "--x"); });
}
constexpr NumberCase kSizes[] = {
    {"0", 0},
    {"7", 7},
    {"7b", 7},
    {"1k", 1024},
    {"1K", 1024},
    {"1kb", 1024},
    {"1KiB", 1024},
    {"512m", 512LL << 20},
    {"1.5g", 3LL << 29},
    {"1tib", 1LL << 40},
    {".5k", 512},
    {"2.k", 2048},
    {"", {}},
    {"-1", {}},
    {"m", {}},
    {"1x", {}},
    {"1kk", {}},
    {"1 m", {}},
    {"1e3", {}},
    {"99999999999t", {}},
    {"0x10", {}},
};
INSTANTIATE_TEST_SUITE_P(Texts, Size, testing::ValuesIn(kSizes));

class Duration : public testing::TestWithParam<NumberCase> {};
TEST_P(Duration, IsReadAsNanoseconds) {
  check(GetParam(), [](std::string_view text) { return parseDuration(text, "--x"); });
}
constexpr NumberCase kDurations[] = {
    {"10", 10'000'000'000},
    {"0", 0},
    {"300ms", 300'000'000},
    {"1h2m3.5s", 3'723'500'000'000},
    {"1.5h", 5'400'000'000'000},
    {"5us", 5'000},
    {"5µs", 5'000},
    {"7ns", 7},
    {"", {}},
    {"s", {}},
    {"1x", {}},
    {"1m2", {}},
    {"-1s", {}},
    {"99999999999999h", {}},
};
INSTANTIATE_TEST_SUITE_P(Texts, Duration, testing::ValuesIn(kDurations));

class Time : public testing::TestWithParam<NumberCase> {};
TEST_P(Time, IsReadAsSeconds) {
  const ScopedVariable zone{"TZ", "UTC"};
  check(GetParam(), [](std::string_view text) { return parseTime(text, 1'000'000, "--x"); });
}
constexpr NumberCase kTimes[] = {
    {"1700000000", 1'700'000'000},
    {"1700000000.75", 1'700'000'000},
    {"10m", 1'000'000 - 600},
    {"2023-11-14T22:13:20Z", 1'700'000'000},
    {"2023-11-14", 1'699'920'000},
    {"2023-11-14T22:13", 1'699'999'980},
    {"2023-11-14T22:13:20", 1'700'000'000},
    {"", {}},
    {"yesterday", {}},
    {"2023-11-14 22:13", {}},
};
INSTANTIATE_TEST_SUITE_P(Texts, Time, testing::ValuesIn(kTimes));

TEST(SourceDateEpoch, IsATimeUntilTheYear9999) {
  const auto read = [](const char* value) {
    const ScopedVariable epoch{"SOURCE_DATE_EPOCH", value};
    return sourceDateEpoch();
  };
  EXPECT_EQ(read(nullptr), std::nullopt);
  EXPECT_EQ(read(""), std::nullopt);
  EXPECT_EQ(read("0"), 0);
  EXPECT_EQ(read("253402300799"), 253402300799);
  for (const char* bad : {"253402300800", "-1", "1.5", "soon", " 1"}) {
    try {
      const auto epoch = read(bad);
      ADD_FAILURE() << bad << " was read as " << epoch.value_or(-1);
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), Kind::usage);
      EXPECT_EQ(error.cause(),
                std::string{"SOURCE_DATE_EPOCH: \""} + bad + "\" is not a number of seconds");
    }
  }
}

TEST(Booleans, AreGosSpellings) {
  for (const char* yes : {"1", "t", "T", "true", "TRUE", "True"}) EXPECT_TRUE(parseBool(yes, "x"));
  for (const char* no : {"0", "f", "F", "false", "FALSE", "False"})
    EXPECT_FALSE(parseBool(no, "x"));
  for (const char* bad : {"", "yes", "tRUE", "2"}) EXPECT_THROW((void)parseBool(bad, "x"), Error);
}

struct CsvCase {
  std::string_view text;
  std::vector<std::string> expected;
};
void PrintTo(const CsvCase& c, std::ostream* out) {
  *out << c.text;
}

class Csv : public testing::TestWithParam<CsvCase> {};
TEST_P(Csv, SplitsFields) {
  EXPECT_EQ(parseCsv(GetParam().text, "--x"), GetParam().expected);
}
const CsvCase kCsv[] = {
    {"a", {"a"}},
    {"", {""}},
    {"type=bind,src=/a", {"type=bind", "src=/a"}},
    {"a,,b", {"a", "", "b"}},
    {"a,", {"a", ""}},
    {R"("src=/a,b",ro)", {"src=/a,b", "ro"}},
    {R"("say ""hi""")", {R"(say "hi")"}},
};
INSTANTIATE_TEST_SUITE_P(Texts, Csv, testing::ValuesIn(kCsv));

TEST(Csv, RefusesStrayQuotes) {
  for (const char* bad : {R"("a)", R"(a"b)", R"("a"b)"}) {
    EXPECT_THROW((void)parseCsv(bad, "--x"), Error) << bad;
  }
}

TEST(CsvFields, SplitAtTheFirstEqualsSignAndLowerTheKey) {
  const auto fields = parseCsvFields("Type=bind,src=/a=b,ro", "--mount");
  ASSERT_EQ(fields.size(), 3U);
  EXPECT_EQ(fields[0], (std::pair<std::string, std::string>{"type", "bind"}));
  EXPECT_EQ(fields[1], (std::pair<std::string, std::string>{"src", "/a=b"}));
  EXPECT_EQ(fields[2], (std::pair<std::string, std::string>{"ro", ""}));
}

}  // namespace
}  // namespace img::cli
