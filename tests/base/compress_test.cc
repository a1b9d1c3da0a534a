#include "base/compress.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace img {
namespace {

std::string compressed(const std::string& text, Compression kind, std::optional<int> level = {}) {
  StringSink sink;
  const auto packer = compressTo(sink, kind, level);
  // In pieces of odd sizes, as a tar writer gives them.
  for (size_t at = 0; at < text.size(); at += 777)
    packer->write(asBytes(std::string_view{text}.substr(at, 777)));
  packer->finish();
  return sink.text;
}

std::string longText() {
  std::string text;
  for (int i = 0; i < 60000; ++i) text += std::to_string(i * 7919);
  return text;
}

class Compress : public testing::TestWithParam<Compression> {};

TEST_P(Compress, ComesBackWhole) {
  for (const std::string& text : {std::string{}, std::string{"short"}, longText()}) {
    const std::string packed = compressed(text, GetParam());
    EXPECT_EQ(detectCompression(packed), GetParam());
    StringSource source{packed};
    EXPECT_EQ(readAll(*decompress(source, "test"), "test"), text);
  }
}

TEST_P(Compress, GivesTheSameBytesEveryTime) {
  EXPECT_EQ(compressed(longText(), GetParam()), compressed(longText(), GetParam()));
}

TEST_P(Compress, AHigherLevelIsSmaller) {
  EXPECT_LT(compressed(longText(), GetParam(), 9).size(),
            compressed(longText(), GetParam(), 1).size());
}

TEST_P(Compress, RefusesALevelThatTheFormatLacks) {
  EXPECT_THROW(checkCompressionLevel(GetParam(), 0), Error);
  EXPECT_THROW(checkCompressionLevel(GetParam(), 23), Error);
  EXPECT_NO_THROW(checkCompressionLevel(GetParam(), 9));
}

INSTANTIATE_TEST_SUITE_P(Formats, Compress, testing::Values(Compression::gzip, Compression::zstd),
                         [](const auto& test) { return std::string{compressionName(test.param)}; });

TEST(Compress, GzipHoldsNeitherNameNorTime) {
  const std::string packed = compressed("x", Compression::gzip);
  EXPECT_EQ(packed.substr(0, 8), (std::string{"\x1f\x8b\x08\0\0\0\0\0", 8}));
}

TEST(Compress, OtherFormatsAreNotMade) {
  StringSink sink;
  EXPECT_THROW(compressTo(sink, Compression::xz), Error);
  EXPECT_THROW(checkCompressionLevel(Compression::none, 1), Error);
}

}  // namespace
}  // namespace img
