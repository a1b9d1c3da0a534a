#include "parser/syntax.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "parser/words.h"

namespace img::parser {
namespace {

using Strings = std::vector<std::string>;

Error failureOf(std::string_view text) {
  try {
    parseSyntax(text, "sub/Dockerfile");
  } catch (const Error& error) {
    return error;
  }
  ADD_FAILURE() << "no error for: " << text;
  return Error{Kind::internal, ""};
}

TEST(Syntax, AttachesCommentsToTheNextInstruction) {
  const auto syntax = parseSyntax(
      "# syntax=x\n# one\n\n#  two \nFROM a \\\n# inside\n AS b\n#\n# x\n#\n# y\nRUN z\n",
      "Dockerfile");
  EXPECT_EQ(syntax.instructions[0].comments, (Strings{"one", "two"}));
  EXPECT_EQ(syntax.instructions[1].comments, Strings{"y"});
  EXPECT_EQ(syntax.lineCount, 12);
}

TEST(Syntax, RecordsEmptyContinuationLines) {
  const auto syntax =
      parseSyntax("RUN a \\\n\n b\nRUN a \\\n# c\n b\nRUN a \\\n  \n", "Dockerfile");
  EXPECT_TRUE(syntax.instructions[0].emptyContinuation);
  EXPECT_FALSE(syntax.instructions[1].emptyContinuation);
  EXPECT_TRUE(syntax.instructions[2].emptyContinuation);
}

TEST(Syntax, RecordsTextThatLooksLikeJson) {
  const auto syntax =
      parseSyntax("CMD [\"a\" b]\nCMD ['a']\nCMD [\"a\"]\nRUN [ -f x ]\n", "Dockerfile");
  EXPECT_TRUE(syntax.instructions[0].brokenJson);
  EXPECT_FALSE(syntax.instructions[1].brokenJson);
  EXPECT_FALSE(syntax.instructions[2].brokenJson);
  EXPECT_FALSE(syntax.instructions[3].brokenJson);
}

TEST(Syntax, ReadsDirectives) {
  const auto directives =
      parseSyntax(
          "#!/bin/x\n  # SyNtAx = docker/dockerfile:1 x\n# escape=`\n# check=skip=all\nFROM a\n",
          "f")
          .directives;
  EXPECT_EQ(directives.escape, '`');
  EXPECT_EQ(directives.syntax, "docker/dockerfile:1 x");
  EXPECT_EQ(directives.syntaxLine, 2);
  EXPECT_EQ(directives.escapeLine, 3);
  EXPECT_EQ(directives.check, "skip=all");
  EXPECT_EQ(directives.checkLine, 4);
}

TEST(Syntax, PointsAtTheWordAtFault) {
  const Error unknown = failureOf("FROM a\n  F\xC3\x96RM b\n");
  EXPECT_EQ(unknown.position()->file, "sub/Dockerfile");
  EXPECT_EQ(unknown.position()->line, 2);
  EXPECT_EQ(unknown.position()->column, 3);
  EXPECT_EQ(unknown.position()->width, 4);
  const Error word = failureOf("ENV A=1 stray B=2\n");
  EXPECT_EQ(word.position()->column, 9);
  EXPECT_EQ(word.position()->width, 5);
}

TEST(Syntax, GivesTheRangeOfTheInstruction) {
  const Error error = failureOf("FROM a\nENV A=1 \\\n# c\n  B\nRUN x\n");
  EXPECT_EQ(error.position()->line, 2);
  EXPECT_EQ(error.position()->endLine, 4);
  const Error open = failureOf("FROM a\nRUN <<E\nx\ny\n");
  EXPECT_EQ(open.position()->line, 2);
  EXPECT_EQ(open.position()->endLine, 4);
}

TEST(Syntax, LimitsPhysicalLines) {
  const std::string longest(size_t{1} << 20, 'x');
  EXPECT_NO_THROW(parseSyntax("RUN " + longest.substr(4) + "\n", "f"));
  const Error error = failureOf("RUN a\nRUN " + longest + "\n");
  EXPECT_EQ(error.cause(), "line exceeds 1048576 bytes");
  EXPECT_EQ(error.position()->line, 2);
  EXPECT_EQ(failureOf("RUN <<E\n" + longest + "x\nE\n").position()->line, 2);
}

TEST(Syntax, CountsLinesOfAFileWithoutInstructions) {
  EXPECT_EQ(failureOf("").cause(), "the Dockerfile is empty");
  EXPECT_EQ(failureOf("").position()->line, 1);
  EXPECT_EQ(failureOf("\n\n# x").cause(), "no instructions found");
  EXPECT_EQ(failureOf("\n\n# x").position()->line, 3);
  EXPECT_EQ(failureOf("\n\n").position()->line, 2);
  EXPECT_EQ(failureOf("\xEF\xBB\xBF").position()->line, 1);
}

TEST(Syntax, SurvivesNestedTriggers) {
  std::string text;
  for (int i = 0; i < 100000; ++i) text += "ONBUILD ";
  EXPECT_EQ(parseSyntax(text, "f").instructions[0].keyword, "ONBUILD");
}

TEST(Syntax, ParsesATriggerByItself) {
  const Instruction run = parseTrigger("RUN <<EOF\nx\nEOF", "ONBUILD");
  EXPECT_EQ(run.keyword, "RUN");
  EXPECT_EQ(run.heredocs.at(0).content, "x\n");
  EXPECT_THROW(parseTrigger("RUN a\nRUN b", "x"), Error);
  EXPECT_THROW(parseTrigger("", "x"), Error);
  EXPECT_THROW(parseTrigger("NOPE a", "x"), Error);
}

struct MarkerCase {
  std::string_view word;
  std::string_view name;  // empty: no marker
  bool expand = true;
  bool chomp = false;
  std::string_view fd = "";
};
void PrintTo(const MarkerCase& c, std::ostream* out) {
  *out << c.word;
}

constexpr MarkerCase kMarkers[] = {
    {"<<EOF", "EOF"},
    {"<<-EOF", "EOF", true, true},
    {"<<'EOF'", "EOF", false},
    {"<<\"EOF\"", "EOF", false},
    {"<<-\"EOF\"", "EOF", false, true},
    {"<<EO\"F\"", "EOF", false},
    {"<<eo\\'f", "eo'f"},
    {"<<'e'o\\'f", "eo'f", false},
    {"<<'one two'", "one two", false},
    {"<<$EOF", "$EOF"},
    {"<<\\EOF", "EOF"},
    {"<< EOF", "EOF"},
    {"<<- EOF", "EOF", true, true},
    {"<< -EOF", "-EOF"},
    {"12<<file.txt", "file.txt", true, false, "12"},
    {"", ""},
    {"EOF", ""},
    {"<EOF", ""},
    {"<<", ""},
    {"<<-", ""},
    {"<<<EOF", ""},
    {"<<a<b", ""},
    {"<<EOF sh", ""},
    {"<<'EOF", ""},
    {"<<''", ""},
    {"a<<EOF", ""},
};

class Marker : public ::testing::TestWithParam<MarkerCase> {};
TEST_P(Marker, IsRecognised) {
  const auto heredoc = parseHeredocMarker(GetParam().word);
  ASSERT_EQ(heredoc.has_value(), !GetParam().name.empty());
  if (!heredoc) return;
  EXPECT_EQ(heredoc->name, GetParam().name);
  EXPECT_EQ(heredoc->expand, GetParam().expand);
  EXPECT_EQ(heredoc->chomp, GetParam().chomp);
  EXPECT_EQ(heredoc->fd, GetParam().fd);
}
INSTANTIATE_TEST_SUITE_P(Heredocs, Marker, ::testing::ValuesIn(kMarkers));

}  // namespace
}  // namespace img::parser
