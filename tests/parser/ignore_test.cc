#include "parser/ignore.h"

#include <gtest/gtest.h>

#include <chrono>

#include "base/error.h"

namespace img::parser {
namespace {

struct Case {
  std::string_view name;
  std::string_view file;
  std::vector<std::string> yes;
  std::vector<std::string> no;
};
void PrintTo(const Case& c, std::ostream* out) {
  *out << c.name;
}

const std::vector<Case>& cases() {
  static const std::vector<Case> kCases{
      // dockerfile.md 11.3
      {"Name", "foo", {"foo", "foo/a"}, {"x/foo", "foobar"}},
      {"LeadingSlash", "/foo", {"foo", "foo/a"}, {"x/foo", "foobar"}},
      {"TrailingSlash", "foo/", {"foo", "foo/a"}, {"x/foo", "foobar"}},
      {"LeadingDot", "./foo", {"foo", "foo/a"}, {"x/foo", "foobar"}},
      {"EverythingBelow", "foo/**", {"foo/a", "foo/a/b"}, {"foo"}},
      {"OneLevelDown", "*/foo", {"a/foo", "a/foo/c"}, {"foo", "a/b/foo"}},
      {"AnyDepth", "**/foo", {"foo", "a/foo", "a/b/foo"}, {"xfoo", "a/xfoo"}},
      {"Suffix", "**foo", {"foo", "xfoo", "a/xfoo"}, {"foox"}},
      {"FoldersBetween", "a/**/b", {"a/b", "a/x/b", "a/x/y/b"}, {"a/xb", "ab"}},
      {"AnyDepthBelow", "**/foo/**", {"foo/x", "a/foo/b"}, {"foo", "a/foo"}},
      {"SuffixOfNames", "**/*.go", {"x.go", "a/x.go", "a/b/x.go"}, {"x.god"}},
      {"Exception", "*.md\n!README.md", {"a.md"}, {"README.md", "d/x.md"}},
      {"LaterPatternWins",
       "*.md\n!README*.md\nREADME-secret.md",
       {"README-secret.md"},
       {"README.md"}},
      {"ExceptionLast", "*.md\nREADME-secret.md\n!README*.md", {"a.md"}, {"README-secret.md"}},
      {"ExceptionInside",
       "node_modules\n!node_modules/keep",
       {"node_modules/z"},
       {"node_modules/keep/x"}},
      {"ExceptionAndBack", "*\n!src/**\nsrc/x", {"src/x/b", "y"}, {"src/a"}},
      {"HashIsEscapedOrIndented", "\\#z\n #y", {"#z", "#y"}, {"z", "y"}},
      {"NegatedClass", "[^a].txt", {"b.txt"}, {"a.txt"}},
      {"QuestionMark", "temp?", {"tempa", "tempa/x"}, {"temp", "tempab"}},
      // 4.2 and 4.3
      {"CommentsAndBlanks", "# foo\n\n   \n\tbar  \r\n", {"bar"}, {"foo", "# foo"}},
      {"ByteOrderMark",
       "\xEF\xBB\xBF"
       "foo\n",
       {"foo"},
       {}},
      {"ByteOrderMarkBeforeComment", "\xEF\xBB\xBF#foo\nbar", {"bar"}, {"#foo"}},
      {"BlankAfterBang", "*\n!  keep", {"a"}, {"keep"}},
      {"DotDot", "a/../b", {"b"}, {"a"}},
      {"DoubleSlash", "a//b", {"a/b"}, {"a"}},
      {"NothingMatches", ".\n/\n..\n../x", {}, {"a", "x", "a/x"}},
      {"StarIsEverything", "*", {"a", "a/b", ".hidden"}, {}},
      {"DoubleStarIsEverything", "**", {"a", "a/b", ".hidden"}, {}},
      {"StarMatchesDotFiles", "a/*", {"a/.x", "a/b/c"}, {"a"}},
      {"StarStaysInComponent", "a*c", {"abc", "ac"}, {"a/c", "ab/c"}},
      {"DoubleStarInName", "a**b", {"ab", "ax/b"}, {"axb"}},
      {"DoubleStarAtEnd", "a**", {"a", "ab", "ab/c"}, {"b"}},
      {"ClassOfRanges", "[a-c]x[0-9_]", {"ax1", "cx_"}, {"dx1", "ax"}},
      {"BangDoesNotNegate", "[!a]b", {"!b", "ab"}, {"cb"}},
      {"EscapesAreLiteral", "\\d\\w\\*", {"dw*"}, {"1a*", "dwx"}},  // Q30
      {"CaretIsLiteral", "^a", {"^a"}, {"a"}},                      // Q30
      {"RegexpSpecialsAreLiteral", "a.(b)+{c}|$", {"a.(b)+{c}|$"}, {"axb", "ab"}},
      {"CloseBracketAlone", "a]", {"a]"}, {"a"}},
      {"EscapeInClass", "[\\]a]x", {"]x", "ax"}, {"bx"}},
      {"Unicode", "\xC3\xA9?[\xC3\xA0-\xC3\xB6]", {"\xC3\xA9\xE2\x82\xAC\xC3\xA8"}, {"\xC3\xA9x"}},
      {"RawBytes", "\xFF*", {"\xFFx"}, {"\xFEx"}},
      {"CaseMatters", "Foo", {"Foo"}, {"foo"}},
      {"SecondMatchOfTheParent", "a\n!a/b\na", {"a/b", "a/c"}, {}},
      {"ExceptionFirst", "!a\na", {"a"}, {}},
      {"ExceptionForParent", "**/x\n!a", {"b/x"}, {"a/x"}},
      {"TwoDoubleStars", "**/a/**/b", {"a/b", "x/a/y/z/b"}, {"a", "b"}},
  };
  return kCases;
}

class Ignore : public ::testing::TestWithParam<Case> {};

TEST_P(Ignore, DecidesOnWholePaths) {
  const auto patterns = IgnorePatterns::parseFile(GetParam().file, ".dockerignore");
  for (const std::string& path : GetParam().yes) EXPECT_TRUE(patterns.isIgnored(path)) << path;
  for (const std::string& path : GetParam().no) EXPECT_FALSE(patterns.isIgnored(path)) << path;
}

TEST_P(Ignore, AgreesWithAWalk) {
  const auto patterns = IgnorePatterns::parseFile(GetParam().file, ".dockerignore");
  const auto walk = [&](const std::string& path) {
    auto state = patterns.root();
    for (size_t end = path.find('/'); end != std::string::npos; end = path.find('/', end + 1)) {
      const std::string folder = path.substr(0, end);
      state = patterns.enter(state, folder);
      // What a walk may leave out must hold nothing that stays.
      if (state.ignored && !patterns.mayContainException(folder)) return true;
    }
    return patterns.enter(state, path).ignored;
  };
  for (const std::string& path : GetParam().yes) EXPECT_TRUE(walk(path)) << path;
  for (const std::string& path : GetParam().no) EXPECT_FALSE(walk(path)) << path;
}
INSTANTIATE_TEST_SUITE_P(Files, Ignore, ::testing::ValuesIn(cases()),
                         [](const auto& test) { return std::string{test.param.name}; });

TEST(Ignore, PrunesFoldersWithoutExceptions) {
  const auto patterns = IgnorePatterns::parseFile("*\n!src/app/**\n!doc/*.md", ".dockerignore");
  EXPECT_TRUE(patterns.mayContainException("src"));
  EXPECT_TRUE(patterns.mayContainException("src/app"));
  EXPECT_TRUE(patterns.mayContainException("src/app/deep"));
  EXPECT_TRUE(patterns.mayContainException("doc"));
  EXPECT_FALSE(patterns.mayContainException("node_modules"));
  EXPECT_FALSE(patterns.mayContainException("src/other"));
  EXPECT_FALSE(patterns.mayContainException("doc/sub"));
  EXPECT_FALSE(IgnorePatterns::parseFile("a", "f").mayContainException("a"));
}

TEST(Ignore, NamesTheDecidingRule) {
  const auto patterns = IgnorePatterns::parseFile("# c\nf*\n\n!foo/keep\nfoo/keep/not", "f");
  EXPECT_EQ(patterns.decidingRule("foo/x")->line, 2);
  EXPECT_EQ(patterns.decidingRule("foo/x")->text, "f*");
  EXPECT_EQ(patterns.decidingRule("foo/keep/x")->text, "!foo/keep");
  EXPECT_EQ(patterns.decidingRule("foo/keep/not")->line, 5);
  EXPECT_FALSE(patterns.decidingRule("bar").has_value());
}

TEST(Ignore, ReportsBadPatternsWithTheirLine) {
  for (const std::string_view bad :
       {"!", "! ", "[a", "[]a]", "[a-]", "[-a]", "[z-a]", "a\\", "[", "[^"}) {
    const std::string file = "ok\n" + std::string{bad} + "\n";
    try {
      IgnorePatterns::parseFile(file, ".dockerignore");
      ADD_FAILURE() << bad;
    } catch (const Error& error) {
      ASSERT_TRUE(error.position().has_value()) << bad;
      EXPECT_EQ(error.position()->line, 2) << bad;
      EXPECT_EQ(error.position()->file, ".dockerignore");
    }
  }
}

TEST(Ignore, SaysThatABangNeedsAPattern) {
  try {
    IgnorePatterns::compile({"!"});
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.cause(), "\"!\" needs a pattern");
  }
}

TEST(Ignore, CompilesBarePatterns) {
  const auto patterns = IgnorePatterns::compile({"**/*.txt", "!keep.txt", "# no comment"});
  EXPECT_TRUE(patterns.isIgnored("a/b.txt"));
  EXPECT_FALSE(patterns.isIgnored("keep.txt"));
  EXPECT_TRUE(patterns.isIgnored("# no comment"));
  EXPECT_EQ(patterns.decidingRule("a.txt")->line, 1);
  EXPECT_TRUE(IgnorePatterns{}.empty());
  EXPECT_FALSE(IgnorePatterns{}.isIgnored("a"));
}

TEST(Ignore, TakesLinearTimeForHostilePatterns) {
  std::string pattern;
  for (int i = 0; i < 200; ++i) pattern += "**/a*";
  pattern += "b";
  std::string path;
  for (int i = 0; i < 1000; ++i) path += "aaa/";
  path += "c";
  const auto patterns = IgnorePatterns::compile({pattern});
  const auto start = std::chrono::steady_clock::now();
  EXPECT_FALSE(patterns.isIgnored("x"));
  auto state = patterns.enter(patterns.root(), path);
  EXPECT_FALSE(state.ignored);
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds{5});
}

struct WildcardCase {
  std::string_view pattern;
  std::string_view path;
  bool matches;
};
void PrintTo(const WildcardCase& c, std::ostream* out) {
  *out << c.pattern << ' ' << c.path;
}

constexpr WildcardCase kWildcards[] = {
    {"*.txt", "a.txt", true},
    {"*.txt", ".txt", true},
    {"*.txt", "d/a.txt", false},
    {"d/*", "d/a", true},
    {"d/*", "d/a/b", false},
    {"**", "a", true},
    {"**", "a/b", false},
    {"a/**/b", "a/x/b", true},
    {"a/**/b", "a/b", false},
    {"a?c", "abc", true},
    {"a?c", "a/c", false},
    {"a[b-d]e", "ace", true},
    {"a[^b]e", "ace", true},
    {"a[^b]e", "abe", false},
    {"a[^b]e", "a/e", false},
    {"arr[[]0].txt", "arr[0].txt", true},
    {"\\*", "*", true},
    {"\\*", "a", false},
    {"a", "a", true},
    {"a", "ab", false},
    {"", "", true},
};

class Wildcard : public ::testing::TestWithParam<WildcardCase> {};
TEST_P(Wildcard, MatchesWholePaths) {
  EXPECT_EQ(matchWildcard(GetParam().pattern, GetParam().path), GetParam().matches);
}
INSTANTIATE_TEST_SUITE_P(Table, Wildcard, ::testing::ValuesIn(kWildcards));

TEST(Wildcard, IsFoundUnlessEscaped) {
  EXPECT_TRUE(hasWildcard("a*"));
  EXPECT_TRUE(hasWildcard("a?"));
  EXPECT_TRUE(hasWildcard("a[b]"));
  EXPECT_FALSE(hasWildcard("a\\*b"));
  EXPECT_FALSE(hasWildcard("plain]"));
  EXPECT_FALSE(hasWildcard("end\\"));
  EXPECT_THROW(matchWildcard("[", "a"), Error);
}

}  // namespace
}  // namespace img::parser
