#include "registry/content_range.h"

#include <gtest/gtest.h>

#include "registry/link.h"

namespace img::registry {
namespace {

std::string shown(const std::optional<ContentRange>& range) {
  if (!range) return "none";
  return std::to_string(range->first) + "-" + std::to_string(range->last) + "/" +
         (range->size ? std::to_string(*range->size) : "*");
}

struct Case {
  std::string_view name, header, expected;
};
void PrintTo(const Case& c, std::ostream* out) {
  *out << c.header;
}

constexpr Case kRanges[] = {
    {"Part", "bytes 5-9/10", "5-9/10"},
    {"Whole", "bytes 0-9/10", "0-9/10"},
    {"OneByte", "bytes 0-0/1", "0-0/1"},
    {"SizeUnknown", "bytes 5-9/*", "5-9/*"},
    {"AnyCaseAndBlanks", " Bytes  5-9/10 ", "5-9/10"},
    {"BeyondTheSize", "bytes 5-10/10", "none"},
    {"Backwards", "bytes 9-5/10", "none"},
    {"Unsatisfied", "bytes */10", "none"},
    {"OtherUnit", "items 5-9/10", "none"},
    {"NoUnit", "5-9/10", "none"},
    {"NoSize", "bytes 5-9", "none"},
    {"EmptySize", "bytes 5-9/", "none"},
    {"Open", "bytes 5-/10", "none"},
    {"Suffix", "bytes -5/10", "none"},
    {"Signs", "bytes +5-9/10", "none"},
    {"Overflow", "bytes 5-99999999999999999999999/*", "none"},
    {"Empty", "", "none"},
};
class Ranges : public testing::TestWithParam<Case> {};
TEST_P(Ranges, AreUnderstoodOrNot) {
  EXPECT_EQ(shown(parseContentRange(GetParam().header)), GetParam().expected);
}
INSTANTIATE_TEST_SUITE_P(Headers, Ranges, testing::ValuesIn(kRanges),
                         [](const auto& test) { return std::string{test.param.name}; });

TEST(UploadRange, TellsHowManyBytesAreThere) {
  EXPECT_EQ(parseUploadRange("0-99"), 100);
  EXPECT_EQ(parseUploadRange("bytes=0-99"), 100);
  EXPECT_EQ(parseUploadRange("0-0"), 0);
  for (const char* bad : {"", "5-9", "0-", "-9", "99", "a-b", "0--1"}) {
    EXPECT_EQ(parseUploadRange(bad), std::nullopt) << bad;
  }
}

constexpr Case kLinks[] = {
    {"Next", R"(</v2/a/tags/list?last=b&n=2>; rel="next")", "/v2/a/tags/list?last=b&n=2"},
    {"Unquoted", "</a>; rel=next", "/a"},
    {"OtherParameters", R"(</a>; title="x"; rel="next")", "/a"},
    {"SecondOfTwo", R"(</a>; rel="prev", </b>; rel="next")", "/b"},
    {"FirstOfTwo", R"(</a>; rel="next", </b>; rel="prev")", "/a"},
    {"Absolute", R"(<https://x.example/a>; rel="next")", "https://x.example/a"},
    {"OtherRelation", R"(</a>; rel="last")", ""},
    {"NoRelation", "</a>", ""},
    {"Open", "</a", ""},
    {"Empty", "", ""},
    {"Words", "next", ""},
};
class Links : public testing::TestWithParam<Case> {};
TEST_P(Links, NameTheNextPage) {
  EXPECT_EQ(nextLink(GetParam().header), GetParam().expected);
}
INSTANTIATE_TEST_SUITE_P(Headers, Links, testing::ValuesIn(kLinks),
                         [](const auto& test) { return std::string{test.param.name}; });

}  // namespace
}  // namespace img::registry
