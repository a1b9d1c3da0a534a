#include "parser/json_array.h"

#include <gtest/gtest.h>

namespace img::parser {
namespace {

struct Case {
  std::string_view text;
  std::vector<std::string> strings;
};
void PrintTo(const Case& c, std::ostream* out) {
  *out << c.text;
}

class ArrayOfStrings : public ::testing::TestWithParam<Case> {};
TEST_P(ArrayOfStrings, IsRead) {
  const auto array = parseJsonArray(GetParam().text);
  ASSERT_TRUE(array.has_value());
  EXPECT_EQ(array->badElement, 0);
  EXPECT_EQ(array->strings, GetParam().strings);
}
INSTANTIATE_TEST_SUITE_P(
    Json, ArrayOfStrings,
    ::testing::Values(Case{"[]", {}}, Case{" [ ] ", {}}, Case{R"(["a"])", {"a"}},
                      Case{R"([ "a" , "b c" ])", {"a", "b c"}}, Case{R"([""])", {""}},
                      Case{R"(["\"\\\/\b\f\n\r\t"])", {"\"\\/\b\f\n\r\t"}},
                      Case{R"(["\u0041\u00e9\u20AC"])", {"A\xC3\xA9\xE2\x82\xAC"}},
                      Case{R"(["\ud83d\ude00"])", {"\xF0\x9F\x98\x80"}},
                      Case{R"(["\ud83d"])", {"\xEF\xBF\xBD"}},
                      Case{R"(["\ud83dx"])", {"\xEF\xBF\xBDx"}},
                      Case{R"(["\ude00"])", {"\xEF\xBF\xBD"}}, Case{"[\"\xC3\xA9\"]", {"\xC3\xA9"}},
                      Case{"[\"\xFF\"]", {"\xEF\xBF\xBD"}}));

class NotAnArray : public ::testing::TestWithParam<std::string> {};
TEST_P(NotAnArray, IsShellForm) {
  EXPECT_FALSE(parseJsonArray(GetParam()).has_value());
}
INSTANTIATE_TEST_SUITE_P(Json, NotAnArray,
                         ::testing::Values("", "a", "\"a\"", "{}", "[", "]", "[\"a\"", "[\"a\",]",
                                           "[,]", "['a']", "[\"a\"] x", "[a]", "[\"a\" \"b\"]",
                                           "[\"\\x\"]", "[\"\\u12\"]", "[\"a\nb\"]", "[01]", "[1.]",
                                           "[1e]", "[-]", "[.5]", "[tru]", "[nul]", "[[]", "[{]",
                                           "[{\"a\"}]", "[{\"a\":}]", "[{a:1}]", "[[1}]", "[\"a",
                                           "[\"\\", "[[,]]", "[{,}]", "[{\"a\":1,}]"));

struct BadCase {
  std::string_view text;
  int element;
  std::string_view type;
};
void PrintTo(const BadCase& c, std::ostream* out) {
  *out << c.text;
}

class OtherElements : public ::testing::TestWithParam<BadCase> {};
TEST_P(OtherElements, AreNamed) {
  const auto array = parseJsonArray(GetParam().text);
  ASSERT_TRUE(array.has_value());
  EXPECT_EQ(array->badElement, GetParam().element);
  EXPECT_EQ(array->badType, GetParam().type);
}
INSTANTIATE_TEST_SUITE_P(
    Json, OtherElements,
    ::testing::Values(BadCase{"[1]", 1, "a number"}, BadCase{R"(["a",-1.5e+3])", 2, "a number"},
                      BadCase{"[null]", 1, "null"}, BadCase{"[true]", 1, "a boolean"},
                      BadCase{"[false,1]", 1, "a boolean"}, BadCase{"[[]]", 1, "an array"},
                      BadCase{R"([[["x"],[1,2]], "a"])", 1, "an array"},
                      BadCase{R"(["a",{"b":[{},{"c":null}],"d":"e"}])", 2, "an object"},
                      BadCase{"[0]", 1, "a number"}, BadCase{"[{ }]", 1, "an object"}));

TEST(JsonArray, SurvivesDeepNesting) {
  EXPECT_FALSE(parseJsonArray(std::string(1 << 20, '[')).has_value());
  EXPECT_TRUE(parseJsonArray(std::string(5000, '[') + std::string(5000, ']')).has_value());
}

}  // namespace
}  // namespace img::parser
