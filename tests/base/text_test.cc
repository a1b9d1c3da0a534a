#include "base/text.h"

#include <gtest/gtest.h>

namespace img::text {
namespace {

struct EscapeCase {
  std::string_view name, raw, expected;
};
void PrintTo(const EscapeCase& c, std::ostream* out) {
  *out << c.name;
}
class TextEscape : public testing::TestWithParam<EscapeCase> {};

TEST_P(TextEscape, LeavesNothingThatATerminalWouldObey) {
  EXPECT_EQ(escape(GetParam().raw), GetParam().expected);
  EXPECT_EQ(quote(GetParam().raw), '"' + std::string{GetParam().expected} + '"');
}

INSTANTIATE_TEST_SUITE_P(
    Table, TextEscape,
    testing::Values(EscapeCase{"Empty", "", ""}, EscapeCase{"Plain", "a b-c", "a b-c"},
                    EscapeCase{"Newline", "a\nb", "a\\x0ab"},
                    EscapeCase{"Nul", std::string_view{"a\0b", 3}, "a\\x00b"},
                    EscapeCase{"TerminalEscape", "\x1b[31m", "\\x1b[31m"},
                    EscapeCase{"Delete", "\x7f", "\\x7f"},
                    EscapeCase{"C1Control", "\xc2\x9b", "\\u{9b}"},
                    EscapeCase{"AfterC1", "\xc2\xa0", "\xc2\xa0"},
                    EscapeCase{"BidiOverride", "\xe2\x80\xae", "\\u{202e}"},
                    EscapeCase{"BidiIsolate", "\xe2\x81\xa6", "\\u{2066}"},
                    EscapeCase{"Umlaut", "\xc3\xa4", "\xc3\xa4"},
                    EscapeCase{"Emoji", "\xf0\x9f\x90\x8b", "\xf0\x9f\x90\x8b"},
                    EscapeCase{"InvalidByte", "a\xff z", "a\\xff z"},
                    EscapeCase{"CutSequence", "\xe2\x82", "\\xe2\\x82"},
                    EscapeCase{"Overlong", "\xc0\xaf", "\\xc0\\xaf"},
                    EscapeCase{"OverlongThree", "\xe0\x80\xaf", "\\xe0\\x80\\xaf"},
                    EscapeCase{"Surrogate", "\xed\xa0\x80", "\\xed\\xa0\\x80"},
                    EscapeCase{"BeyondUnicode", "\xf4\x90\x80\x80", "\\xf4\\x90\\x80\\x80"}),
    [](const auto& one) { return std::string{one.param.name}; });

TEST(TextEscape, CutsAfterTwoHundredCharactersNotBytes) {
  EXPECT_EQ(escape(std::string(200, 'x')), std::string(200, 'x'));
  EXPECT_EQ(escape(std::string(201, 'x')), std::string(200, 'x') + "...");
  std::string umlauts;
  for (int i = 0; i < 200; ++i) umlauts += "\xc3\xa4";
  EXPECT_EQ(escape(umlauts), umlauts);
  EXPECT_EQ(escape(umlauts + "x"), umlauts + "...");
  EXPECT_EQ(escape("abcdef", 3), "abc...");
}

TEST(Text, Utf8IsValidatedAsRfc3629Says) {
  for (const std::string_view good :
       {"", "abc", "\xc2\x80", "\xef\xbf\xbf", "\xf0\x90\x80\x80", "\xf4\x8f\xbf\xbf"}) {
    EXPECT_TRUE(isValidUtf8(good)) << escape(good);
  }
  for (const std::string_view bad : {"\x80", "\xc1\xbf", "\xe0\x9f\xbf", "\xed\xbf\xbf",
                                     "\xf0\x8f\xbf\xbf", "\xf5\x80\x80\x80", "a\xc3"}) {
    EXPECT_FALSE(isValidUtf8(bad)) << escape(bad);
  }
}

TEST(Text, CaseChangesOnlyAscii) {
  EXPECT_EQ(lower("AbZ[\xc3\x84"), "abz[\xc3\x84");
  EXPECT_EQ(upper("aBz{\xc3\xa4"), "ABZ{\xc3\xa4");
}

TEST(Text, TrimTakesBlanksFromBothEnds) {
  EXPECT_EQ(trim(" \t a b \r\n\v\f"), "a b");
  EXPECT_EQ(trim("a"), "a");
  EXPECT_EQ(trim(" \n"), "");
  EXPECT_EQ(trim(""), "");
}

TEST(Text, SplitKeepsEmptyPartsAndJoinUndoesIt) {
  const std::vector<std::string> parts{"", "a", "", "b", ""};
  EXPECT_EQ(split(":a::b:", ':'), parts);
  EXPECT_EQ(join(parts, ":"), ":a::b:");
  EXPECT_EQ(split("", ','), std::vector<std::string>{""});
  EXPECT_EQ(join({}, ","), "");
  EXPECT_EQ(join({"a", "b"}, ", "), "a, b");
}

TEST(Text, EditDistanceCountsInsertionsDeletionsAndReplacements) {
  EXPECT_EQ(editDistance("", ""), 0U);
  EXPECT_EQ(editDistance("", "abc"), 3U);
  EXPECT_EQ(editDistance("abc", ""), 3U);
  EXPECT_EQ(editDistance("kitten", "sitting"), 3U);
  EXPECT_EQ(editDistance("RUN", "RNU"), 2U);
}

TEST(Text, SuggestsTheNearestCandidateAtMostTwoAway) {
  const std::vector<std::string> words{"COPY", "CMD", "ENV", "ENTRYPOINT"};
  EXPECT_EQ(suggest("COPPY", words), "COPY");
  EXPECT_EQ(suggest("CPY", words), "COPY");
  EXPECT_EQ(suggest("ENTRYPIONT", words), "ENTRYPOINT");
  EXPECT_EQ(suggest("VOLUME", words), std::nullopt);
  EXPECT_EQ(suggest("COPY", words), std::nullopt) << "nothing to correct";
  EXPECT_EQ(suggest("x", {}), std::nullopt);
}

TEST(Text, ParseUnsignedTakesDigitsUpToTheLargestNumber) {
  EXPECT_EQ(parseUnsigned("0"), 0U);
  EXPECT_EQ(parseUnsigned("007"), 7U);
  EXPECT_EQ(parseUnsigned("18446744073709551615"), UINT64_MAX);
  for (const std::string_view bad :
       {"", "-1", "+1", " 1", "1 ", "0x1", "1.0", "18446744073709551616", "99999999999999999999"}) {
    EXPECT_EQ(parseUnsigned(bad), std::nullopt) << bad;
  }
}

struct TimeCase {
  long long seconds;
  std::string_view text;
};
void PrintTo(const TimeCase& c, std::ostream* out) {
  *out << c.text;
}
class TextTime : public testing::TestWithParam<TimeCase> {};

TEST_P(TextTime, IsWrittenAndReadBack) {
  EXPECT_EQ(formatTime(GetParam().seconds), GetParam().text);
  EXPECT_EQ(parseTimeSeconds(GetParam().text), GetParam().seconds);
}

INSTANTIATE_TEST_SUITE_P(Table, TextTime,
                         testing::Values(TimeCase{0, "1970-01-01T00:00:00Z"},
                                         TimeCase{-1, "1969-12-31T23:59:59Z"},
                                         TimeCase{-2208988800, "1900-01-01T00:00:00Z"},
                                         TimeCase{951782400, "2000-02-29T00:00:00Z"},
                                         TimeCase{2147483648, "2038-01-19T03:14:08Z"},
                                         TimeCase{1787307072, "2026-08-21T10:11:12Z"},
                                         TimeCase{253402300799, "9999-12-31T23:59:59Z"}));

TEST(TextTime, FractionsLoseTheirTrailingZeros) {
  EXPECT_EQ(formatTime(0, 120'000'000), "1970-01-01T00:00:00.12Z");
  EXPECT_EQ(formatTime(0, 1), "1970-01-01T00:00:00.000000001Z");
  EXPECT_EQ(parseTimeSeconds("1969-12-31T23:59:59.999999999Z"), -1);
}

TEST(TextTime, OffsetsAreTakenAway) {
  EXPECT_EQ(parseTimeSeconds("1970-01-01T02:30:00+02:30"), 0);
  EXPECT_EQ(parseTimeSeconds("1969-12-31T19:00:00-05:00"), 0);
  EXPECT_EQ(parseTimeSeconds("1970-01-01T00:00:00.5+01:00"), -3600);
  EXPECT_EQ(parseTimeSeconds("1970-01-01T00:00:00-00:00"), 0);
}

TEST(TextTime, RefusesWhatIsNotRfc3339) {
  for (const std::string_view bad :
       {"", "now", "1970-01-01", "1970-01-01 00:00:00Z", "1970-01-01T00:00:00",
        "1970-13-01T00:00:00Z", "1970-01-01T25:00:00Z", "1970-01-01T00:00:00Zjunk",
        "1970-01-01T00:00:00+01:00junk", "1970-01-01T00:00:00+0100", "1970-01-01T00:00:00+-1:00",
        "1970-01-01T00:00:00+ 1:00", "1970-01-01T00:00:00+24:00", "1970-01-01T00:00:00+00:60",
        "1970-01-01T00:00:00.Z"}) {
    EXPECT_EQ(parseTimeSeconds(bad), std::nullopt) << bad;
  }
}

// RFC 4648, section 10.
TEST(Base64, GivesTheVectorsOfItsStandard) {
  EXPECT_EQ(base64(""), "");
  EXPECT_EQ(base64("f"), "Zg==");
  EXPECT_EQ(base64("fo"), "Zm8=");
  EXPECT_EQ(base64("foo"), "Zm9v");
  EXPECT_EQ(base64("foobar"), "Zm9vYmFy");
  EXPECT_EQ(base64("\xff\xfe\xfd"), "//79");
}

}  // namespace
}  // namespace img::text
