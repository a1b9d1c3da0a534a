#include "base/json.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "base/error.h"

namespace img {
namespace {

std::string nested(size_t depth, char open, char close) {
  return std::string(depth, open) + std::string(depth, close);
}

std::string causeOf(std::string_view text) {
  try {
    parseJson(text, "manifest");
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), Kind::corrupt);
    return error.cause();
  }
  return {};
}

struct BadCase {
  std::string name, text, problem;
};
void PrintTo(const BadCase& c, std::ostream* out) {
  *out << c.name;
}
class JsonBad : public testing::TestWithParam<BadCase> {};

TEST_P(JsonBad, IsCorruptAndTheMessageNamesOriginAndProblem) {
  EXPECT_EQ(causeOf(GetParam().text), "manifest: " + GetParam().problem);
}

INSTANTIATE_TEST_SUITE_P(
    Table, JsonBad,
    testing::Values(BadCase{"Empty", "", "not valid JSON at byte 1"},
                    BadCase{"Truncated", R"({"a":)", "not valid JSON at byte 6"},
                    BadCase{"TrailingComma", "[1,]", "not valid JSON at byte 4"},
                    BadCase{"TwoValues", "{} {}", "not valid JSON at byte 4"},
                    BadCase{"Comment", "{} // no", "not valid JSON at byte 4"},
                    BadCase{"SingleQuotes", "{'a':1}", "not valid JSON at byte 2"},
                    BadCase{"NotANumber", "[NaN]", "not valid JSON at byte 2"},
                    BadCase{"LeadingZero", "[01]", "not valid JSON at byte 3"},
                    BadCase{"NumberTooLarge", "[1e999]", "not valid JSON at byte 6"},
                    BadCase{"ControlCharacter", "[\"a\nb\"]", "not valid JSON at byte 4"},
                    BadCase{"InvalidUtf8", "[\"a\xff\"]", "not valid JSON at byte 4"},
                    BadCase{"OverlongUtf8", "[\"\xc0\xaf\"]", "not valid JSON at byte 3"},
                    BadCase{"LoneSurrogate", R"(["\ud800"])", "not valid JSON at byte 9"},
                    BadCase{"DuplicateKey", R"({"a":1,"b":2,"a":3})", "duplicate key"},
                    BadCase{"DuplicateKeyInside", R"({"a":[{"b":1,"b":1}]})", "duplicate key"},
                    BadCase{"DuplicateKeyByEscape", R"({"a":1,"\u0061":2})", "duplicate key"},
                    BadCase{"ArraysTooDeep", nested(65, '[', ']'), "nested too deeply"},
                    BadCase{"HostileDepth", std::string(1'000'000, '['), "nested too deeply"}),
    [](const auto& one) { return one.param.name; });

TEST(Json, SixtyFourLevelsAreFineAndSixtyFiveAreNot) {
  EXPECT_EQ(causeOf(nested(64, '[', ']')), "");
  std::string objects = "0";
  for (int i = 0; i < 64; ++i) objects = "{\"k\":" + objects + "}";
  EXPECT_EQ(causeOf(objects), "");
  EXPECT_EQ(causeOf("[" + objects + "]"), "manifest: nested too deeply");
}

TEST(Json, DepthCountsWhatIsOpenNotWhatWasSeen) {
  std::string wide = "[";
  for (int i = 0; i < 200; ++i) wide += i == 0 ? "[{}]" : ",[{}]";
  EXPECT_EQ(parseJson(wide + "]", "x").size(), 200U);
}

TEST(Json, TheSameKeyInTwoObjectsIsFine) {
  EXPECT_EQ(parseJson(R"([{"a":1},{"a":{"a":2}}])", "x")[1]["a"]["a"], 2);
}

TEST(Json, KeepsWholeNumbersExact) {
  const Json value = parseJson("[18446744073709551615,-9223372036854775808,1.5,0]", "x");
  EXPECT_TRUE(value[0].is_number_unsigned());
  EXPECT_EQ(value[0].get<std::uint64_t>(), UINT64_MAX);
  EXPECT_EQ(value[1].get<std::int64_t>(), INT64_MIN);
  EXPECT_DOUBLE_EQ(value[2].get<double>(), 1.5);
  EXPECT_EQ(dumpJson(value), "[18446744073709551615,-9223372036854775808,1.5,0]");
}

TEST(Json, DumpsCompactWithSortedKeys) {
  EXPECT_EQ(dumpJson(parseJson(R"({ "b" : [ 1, null, true ], "a" : "\u00e9\n" })", "x")),
            "{\"a\":\"\xc3\xa9\\n\",\"b\":[1,null,true]}");
}

TEST(Json, DumpReplacesBytesThatAreNoUtf8) {
  EXPECT_EQ(dumpJson(Json("a\xff")), "\"a\xef\xbf\xbd\"");
}

}  // namespace
}  // namespace img
