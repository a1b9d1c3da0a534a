// dockerfile.md 11.4, row by row. 11.1 and 11.2 are in expand_test.cc, 11.3 in ignore_test.cc.
#include <gtest/gtest.h>

#include "base/error.h"
#include "parser/dockerfile.h"
#include "parser/syntax.h"

namespace img::parser {
namespace {

using Strings = std::vector<std::string>;

Instruction only(std::string_view text) {
  const Syntax syntax = parseSyntax(text, "Dockerfile");
  EXPECT_EQ(syntax.instructions.size(), 1U);
  return syntax.instructions.at(0);
}

TEST(LexingVectors, JoinsOverBlankLinesAndComments) {
  const Instruction run = only("RUN foo \\\n\nbar \\\n# c\nbaz\n");
  EXPECT_EQ(run.args, Strings{"foo bar baz"});
  EXPECT_EQ(run.original, "RUN foo bar baz");
  EXPECT_TRUE(run.emptyContinuation);
  EXPECT_EQ(run.endLine, 5);
}

TEST(LexingVectors, TwoEscapeCharactersDoNotContinue) {
  const Syntax syntax = parseSyntax("ENV C a\\\\\nENV D b\n", "Dockerfile");
  ASSERT_EQ(syntax.instructions.size(), 2U);
  EXPECT_EQ(syntax.instructions[0].args, (Strings{"C", "a\\\\"}));
  EXPECT_EQ(syntax.instructions[1].args, (Strings{"D", "b"}));
}

TEST(LexingVectors, ReadsFlagsBeforeTheExecForm) {
  const Instruction cmd = only("CMD --doit -- [ ]\n");
  EXPECT_EQ(cmd.flags, Strings{"--doit"});
  EXPECT_TRUE(cmd.json);
  EXPECT_EQ(cmd.args, Strings{});
  try {
    parseDockerfile("FROM a\nCMD --doit -- [ ]\n", "Dockerfile");
    FAIL() << "the flag is accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.cause(), "CMD: unknown flag \"--doit\"");
  }
}

TEST(LexingVectors, RefusesANumberInTheExecForm) {
  try {
    parseSyntax("CMD [\"a\",42]\n", "Dockerfile");
    FAIL() << "the number is accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.cause(), "CMD: exec form must be an array of strings (element 2 is a number)");
  }
}

TEST(LexingVectors, SingleQuotesAreShellForm) {
  const Instruction cmd = only("CMD ['a']\n");
  EXPECT_FALSE(cmd.json);
  EXPECT_EQ(cmd.args, Strings{"['a']"});
}

TEST(LexingVectors, TwoDashesAloneEndTheFlags) {
  const Instruction copy = only("COPY -- foo /d/\n");
  EXPECT_EQ(copy.flags, Strings{});
  EXPECT_EQ(copy.args, (Strings{"foo", "/d/"}));
}

TEST(LexingVectors, AnUnbalancedQuoteHidesAHeredoc) {
  EXPECT_TRUE(only("RUN echo it's <<EOF\n").heredocs.empty());
}

}  // namespace
}  // namespace img::parser
