#include "registry/challenge.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace img::registry {
namespace {

// "scheme{name=value,...}" of each challenge, names sorted.
std::string shown(const std::vector<Challenge>& challenges) {
  std::string text;
  for (const Challenge& challenge : challenges) {
    text += (text.empty() ? "" : " ") + challenge.scheme + "{";
    bool isFirst = true;
    for (const auto& [name, value] : challenge.values) {
      text += (isFirst ? "" : ",") + name + "=" + value;
      isFirst = false;
    }
    text += "}";
  }
  return text;
}

struct Case {
  std::string_view name, header, expected;
};
void PrintTo(const Case& c, std::ostream* out) {
  *out << c.header;
}

constexpr Case kCases[] = {
    {"SchemeAlone", "Basic", "basic{}"},
    {"Quoted", R"(Basic realm="a b")", "basic{realm=a b}"},
    {"Unquoted", "Basic realm=abc", "basic{realm=abc}"},
    {"EmptyQuoted", R"(Basic realm="")", "basic{realm=}"},
    {"Several", R"(Bearer realm="https://a/t?x=1",service="s",scope="repository:a/b:pull,push")",
     "bearer{realm=https://a/t?x=1,scope=repository:a/b:pull,push,service=s}"},
    {"BlanksAroundEquals", R"(Bearer realm = "r" , service =s)", "bearer{realm=r,service=s}"},
    {"TwoChallenges", R"(Basic realm="x", Bearer realm="y",service=z)",
     "basic{realm=x} bearer{realm=y,service=z}"},
    {"SchemesWithoutParameters", "Negotiate, Basic realm=x", "negotiate{} basic{realm=x}"},
    {"Token68", "Negotiate abc/d+e==, Basic realm=x", "negotiate{} basic{realm=x}"},
    {"Token68WithoutPadding", "Negotiate abc", "negotiate{}"},
    {"EscapedQuote", R"(Basic realm="a \"b\" \\ c")", R"(basic{realm=a "b" \ c})"},
    {"CommaInQuotes", R"(Basic realm="a, Bearer realm=b")", "basic{realm=a, Bearer realm=b}"},
    {"NamesInAnyCase", R"(bEaReR ReAlM="X")", "bearer{realm=X}"},
    {"EmptyElements", R"(, ,Basic realm="x",, )", "basic{realm=x}"},
    {"TabsAreBlanks", "Basic\trealm=x", "basic{realm=x}"},
    {"TabInQuotes", "Basic realm=\"a\tb\"", "basic{realm=a\tb}"},
};
class Challenges : public testing::TestWithParam<Case> {};
TEST_P(Challenges, AreTakenApart) {
  EXPECT_EQ(shown(parseChallenges(GetParam().header)), GetParam().expected);
}
INSTANTIATE_TEST_SUITE_P(Headers, Challenges, testing::ValuesIn(kCases),
                         [](const auto& test) { return std::string{test.param.name}; });

struct Bad {
  std::string_view name, header;
};
void PrintTo(const Bad& c, std::ostream* out) {
  *out << c.name;
}

constexpr Bad kBad[] = {
    {"Nothing", ""},
    {"OnlyCommas", " , ,"},
    {"ParameterFirst", "realm=x"},
    {"OpenQuote", R"(Basic realm="x)"},
    {"OpenEscape", "Basic realm=\"x\\"},
    {"NoValue", "Basic realm=x, service="},
    {"Twice", "Basic realm=a, realm=b"},
    {"TwiceInAnyCase", "Basic realm=a, REALM=b"},
    {"NoComma", R"(Basic realm="a" service="b")"},
    {"ControlCharacter", "Basic realm=\"a\x01\""},
    {"ControlCharacterOutside", "Basic\x01"},
    {"TextAfterQuote", R"(Basic realm="a"b)"},
    {"QuoteFirst", R"("Basic")"},
    {"Bytes", "\xff\xfe"},
};
class BadChallenges : public testing::TestWithParam<Bad> {};
TEST_P(BadChallenges, AreErrors) {
  try {
    parseChallenges(GetParam().header);
    FAIL() << "was taken";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), Kind::corrupt);
    EXPECT_NE(error.cause().find("WWW-Authenticate"), std::string::npos);
  }
}
INSTANTIATE_TEST_SUITE_P(Headers, BadChallenges, testing::ValuesIn(kBad),
                         [](const auto& test) { return std::string{test.param.name}; });

TEST(Challenges, HaveALimit) {
  const std::string most = "Basic realm=" + std::string((64 << 10) - 12, 'a');
  EXPECT_EQ(parseChallenges(most).size(), 1);
  EXPECT_THROW(parseChallenges(most + "a"), Error);
}

TEST(Challenges, AMissingValueIsEmpty) {
  EXPECT_EQ(parseChallenges("Basic realm=x").front().value("service"), "");
  EXPECT_EQ(parseChallenges("Basic realm=x").front().value("realm"), "x");
}

}  // namespace
}  // namespace img::registry
