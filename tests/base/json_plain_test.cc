#include "base/json_plain.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <vector>

namespace img {
namespace {

using Json = nlohmann::json;

constexpr size_t kDepth = 64;

std::string byLibrary(const Json& value) {
  return value.dump(-1, ' ', false, Json::error_handler_t::replace);
}

struct Document {
  const char* name;
  std::string text;
};
void PrintTo(const Document& c, std::ostream* out) {
  *out << c.name;
}
class PlainJson : public testing::TestWithParam<Document> {};

TEST_P(PlainJson, IsReadAsTheLibraryReadsIt) {
  const auto value = parsePlainJson(GetParam().text, kDepth);
  ASSERT_TRUE(value);
  EXPECT_EQ(*value, Json::parse(GetParam().text));
  EXPECT_EQ(writeJson(*value), byLibrary(*value));
}

INSTANTIATE_TEST_SUITE_P(
    Table, PlainJson,
    testing::Values(
        Document{"Manifest", R"({"config":{"digest":"sha256:ab","size":7},"layers":[{"size":0}]})"},
        Document{"NestedDocument", R"({"image":"{\"cmd\":[\"sh\",\"-c\",\"a\\\\b\"]}"})"},
        Document{"AllShortEscapes", R"(["\"\\\/\b\f\n\r\t"])"},
        Document{"Literals", "[true,false,null]"}, Document{"Integers", "[0,7,-1,-90,1234567]"},
        Document{"EighteenDigits", "[999999999999999999,-999999999999999999]"},
        Document{"Spaces", " {\t\"a\" :\r\n [ 1 , { } , [ ] ] } \n"},
        Document{"KeysOutOfOrder", R"({"b":1,"a":{"d":2,"c":3},"":4})"},
        Document{"Delete", "[\"\x7f\"]"}, Document{"TopLevelString", "\"text\""},
        Document{"TopLevelNull", "null"}),
    [](const auto& one) { return one.param.name; });

class UnusualJson : public testing::TestWithParam<Document> {};

TEST_P(UnusualJson, IsLeftToTheLibrary) {
  EXPECT_FALSE(parsePlainJson(GetParam().text, kDepth));
}

INSTANTIATE_TEST_SUITE_P(
    Table, UnusualJson,
    testing::Values(
        Document{"Empty", ""}, Document{"Truncated", R"({"a":)"}, Document{"OpenString", "\"a"},
        Document{"OpenEscape", "\"a\\"}, Document{"UnknownEscape", R"("\x")"},
        Document{"UnicodeEscape", R"("\u0041")"}, Document{"BeyondAscii", "\"\xc3\xa9\""},
        Document{"ControlCharacter", "\"a\nb\""}, Document{"Fraction", "[1.5]"},
        Document{"Exponent", "[1e3]"}, Document{"LeadingZero", "[01]"},
        Document{"MinusZero", "[-0]"}, Document{"OnlyMinus", "-"}, Document{"Plus", "[+1]"},
        Document{"NineteenDigits", "[1000000000000000000]"}, Document{"TwoValues", "{} {}"},
        Document{"TrailingComma", "[1,]"}, Document{"CommaAtTheEndOfAnObject", R"({"a":1,})"},
        Document{"NoColon", R"({"a" 1})"}, Document{"NumberAsKey", "{1:2}"},
        Document{"KeyTwice", R"({"a":1,"b":2,"a":3})"}, Document{"WrongLiteral", "[nul]"},
        Document{"WrongBracket", "[1}"}, Document{"ByteOrderMark", "\xef\xbb\xbf[]"},
        Document{"TooDeep", std::string(65, '[') + std::string(65, ']')},
        Document{"NulByte", std::string("[\0]", 3)}),
    [](const auto& one) { return one.param.name; });

TEST(PlainJson, CountsTheLevelsThatAreOpen) {
  EXPECT_TRUE(parsePlainJson(std::string(64, '[') + std::string(64, ']'), kDepth));
  std::string wide = "[";
  for (int i = 0; i < 200; ++i) wide += i == 0 ? "[{}]" : ",[{}]";
  EXPECT_TRUE(parsePlainJson(wide + "]", 3));
  EXPECT_FALSE(parsePlainJson(wide + "]", 2));
}

// One character of a good document is changed, left out or doubled: what is still taken means what
// the library says.
TEST(PlainJson, AgreesWithTheLibraryOnDamagedDocuments) {
  const std::string good =
      R"({"a":[1,-20,{"b":"x\ny","c":null}],"d":{"e":true,"f":""},"g":12345678901234567,"h":"q\\\""})";
  const std::string marks = "{}[]\",:\\0-1eE.u\x01\xff nt";
  std::mt19937 random{7};  // NOLINT(cert-msc51-cpp): the same ones each time
  int taken = 0;
  for (int round = 0; round < 20'000; ++round) {
    std::string text = good;
    const size_t place = random() % text.size();
    switch (random() % 3) {
      case 0: text[place] = marks[random() % marks.size()]; break;
      case 1: text.erase(place, 1); break;
      default: text.insert(place, 1, text[place]);
    }
    const auto value = parsePlainJson(text, kDepth);
    if (!value) continue;
    ++taken;
    const Json expected = Json::parse(text, nullptr, false);
    ASSERT_FALSE(expected.is_discarded()) << text;
    ASSERT_EQ(*value, expected) << text;
    ASSERT_EQ(value->dump(), expected.dump()) << text;
  }
  EXPECT_GT(taken, 1000);
}

TEST(WriteJson, WritesEachByteAsTheLibraryDoes) {
  for (int byte = 0; byte < 256; ++byte) {
    const std::string text = "a" + std::string(1, static_cast<char>(byte)) + "b\"";
    EXPECT_EQ(writeJson(Json(text)), byLibrary(Json(text))) << byte;
    EXPECT_EQ(writeJson(Json{{text, text}}), byLibrary(Json{{text, text}})) << byte;
  }
}

TEST(WriteJson, WritesEachTypeAsTheLibraryDoes) {
  const std::vector<Json> values = {nullptr,
                                    true,
                                    -1,
                                    1.5,
                                    1e300,
                                    UINT64_MAX,
                                    INT64_MIN,
                                    Json::object(),
                                    Json::array(),
                                    "\u00e9",
                                    "",
                                    "\xf0\x9f",
                                    0.1F,
                                    "\x7f",
                                    "\u2028",
                                    Json::binary({1}),
                                    {{"z", {1, 2}}, {"a", {}}, {"\n", "\r\b\f\t/"}}};
  for (const Json& value : values) EXPECT_EQ(writeJson(value), byLibrary(value));
  EXPECT_EQ(writeJson(values), byLibrary(values));
}

}  // namespace
}  // namespace img
