#include "parser/expand.h"

#include <gtest/gtest.h>

#include <chrono>

#include "base/error.h"
#include "tests/parser/vectors.h"

namespace img::parser {
namespace {

using testing::lookupIn;
using testing::Variables;

constexpr std::string_view kFails = "<error>";

struct Case {
  std::string_view word;
  std::string_view expected;
};
void PrintTo(const Case& c, std::ostream* out) {
  *out << c.word;
}

// dockerfile.md 11.1, and further rows for 2.1, 2.2 and 2.8.
constexpr Case kWords[] = {
    {"he'll'o", "hello"},
    {R"(he\'llo)", "he'llo"},
    {"he'llo", kFails},
    {R"(he\\'llo)", kFails},
    {R"(abc\tdef)", "abctdef"},
    {R"("abc\tdef")", R"(abc\tdef)"},
    {R"("abc\\tdef")", R"(abc\tdef)"},
    {R"('abc\tdef')", R"(abc\tdef)"},
    {R"(hello\)", "hello"},
    {R"(hello\\)", R"(hello\)"},
    {R"("hello\")", kFails},
    {R"('hello\')", R"(hello\)"},
    {"he$1x", "hex"},
    {"he$.x", "he$.x"},
    {R"(he\$PWD)", "he$PWD"},
    {R"(he\\$PWD)", R"(he\/home)"},
    {R"(\${}aaa)", "${}aaa"},
    {"${}", kFails},
    {"he${XXX:-000}xx", "he000xx"},
    {"he${PWD:+000}xx", "he000xx"},
    {"he${XXX:-${YYY:-yyy}}xx", "heyyyxx"},
    {"he${XXX:YYY}", kFails},
    {"he${NULL?}", "he"},
    {"he${NULL:?}", kFails},
    {R"(he${XXX:-\$PWD:}xx)", "he$PWD:xx"},
    {R"(he${XXX:-\${PWD}z}xx)", "he${PWDz}xx"},
    {R"("he'$PWD'")", "he'/home'"},
    {R"('he\$PWD')", R"(he\$PWD)"},
    {"${aaa}}", "}"},
    {"${aaa:-bbb {foo}", "bbb {foo"},
    {"$999aaa", "aaa"},
    {"$@@@", "@@"},
    {"${@:-bbb}", "bbb"},
    {"he${PWD:=000}xx", kFails},
    // 2.1
    {"", ""},
    {"plain", "plain"},
    {R"(\ )", " "},
    {R"(a\ b)", "a b"},
    {R"("")", ""},
    {"''", ""},
    {R"("$PWD")", "/home"},
    {R"("\$PWD")", "$PWD"},
    {R"("a\"b")", R"(a"b)"},
    {R"('a\'b')", kFails},
    {"$(PWD)", "$(PWD)"},
    {"cost $", "cost $"},
    {R"("$")", "$"},
    {"\xC3\xA9$PWD\xC3\xA9", "\xC3\xA9/home\xC3\xA9"},
    {"\\\xC3\xA9", "\xC3\xA9"},
    {"\xFF$PWD", "\xFF/home"},
    // 2.2: set and not empty, set and empty, unset
    {"${SHELL-w}", "bash"},
    {"${NULL-w}", ""},
    {"${XXX-w}", "w"},
    {"${SHELL:-w}", "bash"},
    {"${NULL:-w}", "w"},
    {"${XXX:-w}", "w"},
    {"${SHELL+w}", "w"},
    {"${NULL+w}", "w"},
    {"${XXX+w}", ""},
    {"${SHELL:+w}", "w"},
    {"${NULL:+w}", ""},
    {"${XXX:+w}", ""},
    {"${SHELL?m}", "bash"},
    {"${NULL?m}", ""},
    {"${XXX?m}", kFails},
    {"${SHELL:?m}", "bash"},
    {"${NULL:?m}", kFails},
    {"${XXX:?m}", kFails},
    {"${V:-bbb}}", "bbb}"},
    {"${SHELL:-${XXX:?no XXX}}", kFails},  // eager
    {"${10}", ""},
    {"$$", ""},
    {"$!x", "x"},
    {"${#}", ""},
    {"${#PWD}", kFails},
    {"${!PWD}", kFails},
    {"${PWD:0:1}", kFails},
    {"${PWD^}", kFails},
    {"${PWD,}", kFails},
    {"${PWD@Q}", kFails},
    {"${PWD=x}", kFails},
    {"${PWD:#x}", kFails},
    {"${PWD:%x}", kFails},
    {"${:x}", kFails},
    {"${{x}", kFails},
    {"${PWD", kFails},
    {"${PWD:", kFails},
    {"${PWD:-", kFails},
    {"${", kFails},
    {"${PWD/x}", kFails},
    {"${PWD//x}", kFails},
    {"${PWD/x/", kFails},
    {"${XXX:-'a}b'}", "a}b"},
    {"${XXX:-\"$SHELL\"}", "bash"},
    {"$PWDx", ""},
    {"${PWD}x", "/homex"},
    {"$PWD-x", "/home-x"},
    {"$SHELL$SHELL", "bashbash"},
    {"$\xC3\xA9", "$\xC3\xA9"},  // Q11: no letter of a name
};

class Expand : public ::testing::TestWithParam<Case> {};

TEST_P(Expand, YieldsTheWord) {
  const Variables variables{{"PWD", "/home"}, {"SHELL", "bash"}, {"NULL", ""}};
  const auto run = [&] { return expand(GetParam().word, lookupIn(variables)).text; };
  if (GetParam().expected == kFails) {
    EXPECT_THROW(run(), Error);
  } else {
    EXPECT_EQ(run(), GetParam().expected);
  }
}
INSTANTIATE_TEST_SUITE_P(Words, Expand, ::testing::ValuesIn(kWords));

struct PatternCase {
  std::string_view value;
  std::string_view form;  // what follows the name
  std::string_view expected;
};
void PrintTo(const PatternCase& c, std::ostream* out) {
  *out << c.value << ' ' << c.form;
}

// dockerfile.md 11.2 and 2.3.
constexpr PatternCase kPatterns[] = {
    {"foobarbaz", "#f*b", "arbaz"},
    {"foobarbaz", "##f*b", "az"},
    {"foobarbaz", "%b*", "foobar"},
    {"foobarbaz", "%%b*", "foo"},
    {"foobarbaz", "/ba/fo", "fooforbaz"},
    {"foobarbaz", "//ba/fo", "fooforfoz"},
    {"???y", R"(#?\?)", "?y"},
    {"a***yy*", R"(%%\**\*)", "a"},
    {"xxyy", "#*", "xxyy"},
    {"xxyy", "##*", ""},
    {"xxyy", "%%*", ""},
    {"xxyy", "%y", "xxy"},
    {"xxyy", "#", "xxyy"},
    {"abc", "#b", "abc"},
    {"abc", "/b/", "ac"},
    {"abc", "//?/x", "xxx"},
    {"abc", "/*/x", "x"},
    {"abc", "//*/x", "x"},
    {"abc", "//x/y", "abc"},
    {"abc", "///-", "-a-b-c-"},
    {"abc", "/b/$1", "ac"},
    {"abc", "/b/$W", "awc"},
    {"abc", "/$B/x", "axc"},
    {"abc", R"(//b/\$1)", R"(a\$1c)"},
    {"a}b", R"(#a\})", "b"},
    {"a/b", R"(/a\//x)", "xb"},
    {"abc", R"(/b/\/)", R"(a\/c)"},
    {R"(a\b)", R"(#a\\)", "b"},
    {"abc", R"(#\a)", kFails},
    {"a[b]c", "#a[b]", "c"},
    {"a\nb", "##*", "\nb"},
    {"a\nb", "#a?b", "a\nb"},
    {"\xC3\xA9x", "#?", "x"},
    {"abab", "/a*b/x", "x"},
    {"xaby", "//[ab]/_", "xaby"},
    {"", "#*", ""},
    {"", "//*/x", "x"},
};

class Patterns : public ::testing::TestWithParam<PatternCase> {};

TEST_P(Patterns, CutOrReplace) {
  const Variables variables{{"F", std::string{GetParam().value}}, {"B", "b"}, {"W", "w"}};
  const std::string word = "${F" + std::string{GetParam().form} + "}";
  if (GetParam().expected == kFails) {
    EXPECT_THROW(expand(word, lookupIn(variables)), Error);
  } else {
    EXPECT_EQ(expand(word, lookupIn(variables)).text, GetParam().expected);
  }
}
INSTANTIATE_TEST_SUITE_P(Forms, Patterns, ::testing::ValuesIn(kPatterns));

// 2.10
struct MessageCase {
  std::string_view word;
  std::string_view message;
};
void PrintTo(const MessageCase& c, std::ostream* out) {
  *out << c.word;
}

constexpr MessageCase kMessages[] = {
    {"a'b", R"(missing closing ' in "a'b")"},
    {"a\"b", R"(missing closing " in "a"b")"},
    {"${a", R"(missing "}" in "${a")"},
    {"${a/b}", R"(missing "/" in "${a/b}")"},
    {"${}", R"(bad substitution "${}")"},
    {"${a:=b}", R"(unsupported modifier ":=" in "${a:=b}")"},
    {"${a^}", R"(unsupported modifier "^" in "${a^}")"},
    {"${a?}", "a: must be set"},
    {"${n:?}", "n: must not be empty"},
    {"${a:?pass --build-arg a}", "a: pass --build-arg a"},
    {R"(${n#\d})", R"(bad pattern "\d": unknown escape "\d")"},
};

class ExpandMessages : public ::testing::TestWithParam<MessageCase> {};

TEST_P(ExpandMessages, SayWhatIsWrong) {
  const Variables variables{{"n", ""}};
  try {
    expand(GetParam().word, lookupIn(variables));
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.cause(), GetParam().message);
    EXPECT_EQ(error.code(), "parse");
  }
}
INSTANTIATE_TEST_SUITE_P(Table, ExpandMessages, ::testing::ValuesIn(kMessages));

TEST(ExpandWords, SplitsTheUnquotedPartOnly) {
  const Variables variables{{"P", "80 443"}, {"E", ""}};
  const auto words = [&](std::string_view text) { return expandWords(text, lookupIn(variables)); };
  using Words = std::vector<std::string>;
  EXPECT_EQ(words("$P"), (Words{"80", "443"}));
  EXPECT_EQ(words("\"$P\""), (Words{"80 443"}));
  EXPECT_EQ(words("a$P'b c'"), (Words{"a80", "443b c"}));
  EXPECT_EQ(words("a\\ b c"), (Words{"a b", "c"}));
  EXPECT_EQ(words("$E"), Words{});
  EXPECT_EQ(words("''"), Words{});
  EXPECT_EQ(words("  a \t b "), (Words{"a", "b"}));
  EXPECT_EQ(words("${X:-1 2}"), (Words{"1", "2"}));
  EXPECT_EQ(words("a\xC2\xA0"
                  "b"),
            (Words{"a", "b"}));
}

TEST(Expand, UsesTheBackquoteWhenItIsTheEscapeCharacter) {
  ExpandOptions options;
  options.escape = '`';
  const Variables variables{{"A", "x"}};
  EXPECT_EQ(expand("`$A \\$A", lookupIn(variables), options).text, "$A \\x");
  EXPECT_EQ(expand("\"`\" `a\"", lookupIn(variables), options).text, "\" `a");
}

TEST(Expand, KeepsTheTextOfUnsetVariablesForStepNames) {
  ExpandOptions options;
  options.keepUnset = true;
  const Variables variables{{"A", "x"}};
  const auto run = [&](std::string_view word) {
    return expand(word, lookupIn(variables), options).text;
  };
  EXPECT_EQ(run("$A/$B/${B}/${B:-d}/${B:?m}/${B#x}"), "x/$B/${B}/${B:-d}/${B:?m}/${B#x}");
}

TEST(Expand, TreatsQuotesAsTextInHeredocBodies) {
  ExpandOptions options;
  options.skipQuotes = true;
  const Variables variables{{"A", "x"}};
  EXPECT_EQ(expand("it's \"$A\" \\n \\\\ \\$A \\\n", lookupIn(variables), options).text,
            "it's \"x\" n \\ $A \n");
}

TEST(Expand, KeepsQuotesAndEscapesWhenAsked) {
  ExpandOptions options;
  options.rawQuotes = true;
  options.rawEscapes = true;
  const Variables variables{{"A", "x"}};
  EXPECT_EQ(expand(R"('a b' "c\d$A" \$)", lookupIn(variables), options).text, R"('a b' "c\dx" \$)");
}

TEST(Expand, ReportsUnsetNamesThatHaveNoDefault) {
  const Variables variables{{"A", "x"}};
  EXPECT_EQ(expand("$A $B ${C} ${D:-d} ${E:+e} ${F#f}", lookupIn(variables)).unset,
            (std::vector<std::string>{"B", "C", "F"}));
}

TEST(Expand, RefusesHostileNestingAndGrowth) {
  const Variables variables{{"A", std::string(1 << 16, 'a')}};
  std::string nested;
  for (int i = 0; i < 100000; ++i) nested += "${B:-";
  EXPECT_THROW(expand(nested, lookupIn(variables)), Error);
  EXPECT_THROW(expand("${A//a/$A}", lookupIn(variables)), Error);
  std::string longWord;
  for (int i = 0; i < 300; ++i) longWord += "$A";
  EXPECT_THROW(expand(longWord, lookupIn(variables)), Error);
}

TEST(Expand, MatchesPatternsInLinearTime) {
  const Variables variables{{"A", std::string(1 << 16, 'a')}};
  const auto start = std::chrono::steady_clock::now();
  EXPECT_EQ(expand("${A%%*a*a*a*a*a*a*a*a*b}", lookupIn(variables)).text.size(), size_t{1} << 16);
  EXPECT_EQ(expand("${A//*a*a*a*a*a*a*a*a*b/x}", lookupIn(variables)).text.size(), size_t{1} << 16);
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds{5});
}

}  // namespace
}  // namespace img::parser
