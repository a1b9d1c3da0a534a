#include "parser/print.h"

#include <gtest/gtest.h>

#include "tests/parser/vectors.h"

namespace img::parser {
namespace {

using testing::lookupIn;
using testing::Variables;

std::string words(std::string_view input, bool split = false, char escape = '\\') {
  static const Variables kVariables{{"A", "x y"}, {"E", ""}};
  return printWords({input, lookupIn(kVariables), split, escape});
}

TEST(PrintWords, AnswersLineByLine) {
  EXPECT_EQ(words("$A\n\n'a'b\n${B:-d} e\nlast"), "\"x y\"\n\"\"\n\"ab\"\n\"d e\"\n\"last\"\n");
  EXPECT_EQ(words(""), "");
  EXPECT_EQ(words("\n"), "\"\"\n");
}

TEST(PrintWords, SplitsWhenAsked) {
  EXPECT_EQ(words("$A \"$A\"\n\n  \n$E\na b", true),
            "[\"x\",\"y\",\"x y\"]\n[]\n[]\n[]\n[\"a\",\"b\"]\n");
}

TEST(PrintWords, PrintsErrorsAsObjects) {
  EXPECT_EQ(words("a'b\nok"), "{\"error\":\"missing closing ' in \\\"a'b\\\"\"}\n\"ok\"\n");
  EXPECT_EQ(words("${B:?set B}"), "{\"error\":\"B: set B\"}\n");
}

TEST(PrintWords, TakesTheBackquoteAsEscape) {
  EXPECT_EQ(words("`$A\\$A", false, '`'), "\"$A\\\\x y\"\n");
}

TEST(PrintJson, EscapesOnlyWhatItMust) {
  std::string out;
  appendJsonString(out, "a\"\\/\b\f\n\r\t\x01\x7F<&>\xC3\xA9\xF0\x9F\x98\x80\xFF");
  EXPECT_EQ(out, "\"a\\\"\\\\/\\b\\f\\n\\r\\t\\u0001\x7F<&>\xC3\xA9\xF0\x9F\x98\x80\xEF\xBF\xBD\"");
}

}  // namespace
}  // namespace img::parser
