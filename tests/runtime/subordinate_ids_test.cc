#include "runtime/subordinate_ids.h"

#include <gtest/gtest.h>

#include <ostream>

#include "base/error.h"
#include "base/text.h"

namespace img::runtime::test {
namespace {

struct Case {
  std::string_view name, content;
  std::string_view expected;  // "FIRST+COUNT ..."
};
void PrintTo(const Case& c, std::ostream* out) {
  *out << c.name;
}

std::string shown(const std::vector<SubordinateRange>& ranges) {
  std::vector<std::string> words;
  for (const SubordinateRange& range : ranges) {
    words.push_back(fmt::format("{}+{}", range.first, range.count));
  }
  return text::join(words, " ");
}

constexpr Case kCases[] = {
    {"ByName", "ada:100000:65536\n", "100000+65536"},
    {"ByNumber", "1000:200000:10\n", "200000+10"},
    {"SeveralLinesInOrder", "ada:300000:5\nbob:1:1\n1000:200000:10\nada:400000:1\n",
     "300000+5 200000+10 400000+1"},
    {"TheSameLineTwice", "ada:100000:65536\n1000:100000:65536\n", "100000+65536"},
    {"Others", "bob:100000:65536\nadam:1:1\n100:5:5\n", ""},
    {"CommentsBlanksAndNoLastNewline", "# ada:1:1\n\n  \nada:100000:65536", "100000+65536"},
    {"Neighbours", "ada:100000:10\nada:100010:10\n", "100000+10 100010+10"},
    {"UpToTheLastId", "ada:4294967294:1\n", "4294967294+1"},
    {"Nothing", "", ""},
};
class SubordinateIds : public testing::TestWithParam<Case> {};
TEST_P(SubordinateIds, AreTheUsers) {
  EXPECT_EQ(shown(parseSubordinateIds(GetParam().content, "ada", 1000, "f")), GetParam().expected);
}
INSTANTIATE_TEST_SUITE_P(Files, SubordinateIds, testing::ValuesIn(kCases),
                         [](const auto& test) { return std::string{test.param.name}; });

struct Bad {
  std::string_view name, content, says;
};
void PrintTo(const Bad& c, std::ostream* out) {
  *out << c.name;
}
constexpr Bad kBad[] = {
    {"Overlap", "ada:100000:65536\nada:165535:2\n", "overlaps"},
    {"OverlapFromBelow", "ada:100000:10\nada:99999:2\n", "overlaps"},
    {"NoCount", "ada:100000\n", "not NAME:FIRST:COUNT"},
    {"CountOfZero", "ada:100000:0\n", "not NAME:FIRST:COUNT"},
    {"Letters", "ada:ten:5\n", "not NAME:FIRST:COUNT"},
    {"Negative", "ada:-1:5\n", "not NAME:FIRST:COUNT"},
    {"BeyondTheLastId", "ada:4294967290:6\n", "beyond the last id"},
    {"Overflow", "ada:1:4294967295\n", "beyond the last id"},
};
class BadSubordinateIds : public testing::TestWithParam<Bad> {};
TEST_P(BadSubordinateIds, AreRefusedWithTheirLine) {
  try {
    parseSubordinateIds(GetParam().content, "ada", 1000, "/etc/subuid");
    FAIL() << "nothing was thrown";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), Kind::corrupt);
    EXPECT_EQ(error.code(), "idmap");
    EXPECT_TRUE(error.cause().starts_with("/etc/subuid: \"ada:")) << error.cause();
    EXPECT_NE(error.cause().find(GetParam().says), std::string::npos) << error.cause();
  }
}
INSTANTIATE_TEST_SUITE_P(Files, BadSubordinateIds, testing::ValuesIn(kBad),
                         [](const auto& test) { return std::string{test.param.name}; });

TEST(SubordinateIds, OfOthersMayBeBad) {
  EXPECT_EQ(shown(parseSubordinateIds("bob:x:y\nada:5:6\n", "ada", 1000, "f")), "5+6");
}

TEST(SubordinateIds, OfAUserWithoutANameGoByNumber) {
  EXPECT_EQ(shown(parseSubordinateIds(":1:2\n1000:5:6\n", "", 1000, "f")), "5+6");
}

TEST(IdMap, PutsTheCallerFirstAndTheRangesAfterIt) {
  EXPECT_EQ(text::join(idMapWords(makeIdMap(1000, {{100000, 65536}, {500000, 10}}, "f")), " "),
            "0 1000 1 1 100000 65536 65537 500000 10");
}

TEST(IdMap, RefusesARangeWithTheCallerInIt) {
  EXPECT_THROW(makeIdMap(1000, {{999, 2}}, "f"), Error);
  EXPECT_NO_THROW(makeIdMap(1000, {{1001, 2}}, "f"));
}

TEST(IdMap, IsReadAsTheKernelWritesIt) {
  const IdMap map =
      parseIdMap("         0       1000          1\n         1     100000      65536\n");
  EXPECT_EQ(text::join(idMapWords(map), " "), "0 1000 1 1 100000 65536");
  EXPECT_EQ(contiguousIds(map), 65537U);
  EXPECT_EQ(contiguousIds(parseIdMap("0 0 4294967295\n")), 4294967295U);
}

TEST(IdMap, CountsUpToTheFirstGap) {
  EXPECT_EQ(contiguousIds({{5, 100, 10}, {0, 7, 2}}), 2U);
  EXPECT_EQ(contiguousIds({{2, 100, 10}, {0, 7, 2}}), 12U);
  EXPECT_EQ(contiguousIds({{1, 100, 10}}), 0U);
  EXPECT_EQ(contiguousIds({}), 0U);
}

}  // namespace
}  // namespace img::runtime::test
