#include "base/compress.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "base/error.h"

namespace img {
namespace {

std::string compressed(const std::string& text, Compression kind, std::optional<int> level = {},
                       unsigned threads = 0) {
  StringSink sink;
  const auto packer = compressTo(sink, kind, level, threads);
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

// More than zstd's jobs and many of gzip's blocks, and no whole number of either.
std::string severalBlocks() {
  const std::string part = longText();
  std::string text;
  while (text.size() < (size_t{9} << 20)) text += part;
  return text + "the end";
}

TEST_P(Compress, GivesTheSameBytesWithAnyNumberOfThreads) {
  const std::string text = severalBlocks();
  const std::string packed = compressed(text, GetParam(), 1, 1);
  for (const unsigned threads : {2U, 3U, 7U})
    EXPECT_TRUE(compressed(text, GetParam(), 1, threads) == packed) << threads;
  StringSource source{packed};
  EXPECT_TRUE(readAll(*decompress(source, "test"), "test") == text);
}

TEST_P(Compress, GivesTheSameBytesHoweverItIsWritten) {
  const std::string text = severalBlocks();
  StringSink sink;
  const auto packer = compressTo(sink, GetParam(), 1);
  packer->write(asBytes(text));
  packer->finish();
  EXPECT_TRUE(sink.text == compressed(text, GetParam(), 1));
}

TEST_P(Compress, GivesTheSameBytesFromASource) {
  const std::string half = severalBlocks();
  for (const std::string& text : {half, std::string(size_t{8} << 20, 'x'), std::string{}}) {
    StringSink sink;
    const auto packer = compressTo(sink, GetParam(), {}, 2);
    packer->write(asBytes(std::string_view{"begin"}));
    StringSource source{text};
    packer->takeAll(source);
    packer->finish();
    EXPECT_TRUE(sink.text == compressed("begin" + text, GetParam())) << text.size();
  }
}

TEST_P(Compress, ASourceThatEndsWithABlockMakesNoneTooMany) {
  const std::string text(size_t{8} << 20, 'x');
  StringSink sink;
  const auto packer = compressTo(sink, GetParam(), {}, 2);
  StringSource source{text};
  packer->takeAll(source);
  packer->finish();
  EXPECT_TRUE(sink.text == compressed(text, GetParam()));
}

TEST(Compress, ZstdWithoutALevelIsAboutAsSmallAsItsLevel3) {
  const std::string text = severalBlocks();
  const size_t usual = compressed(text, Compression::zstd).size();
  EXPECT_LT(usual, compressed(text, Compression::zstd, 1).size() * 21 / 20);
  EXPECT_LT(usual, compressed(text, Compression::zstd, 3).size() * 11 / 10);
}

class FullDisk final : public Sink {
 public:
  void write(std::span<const std::byte> bytes) override {
    room_ -= std::min(room_, bytes.size());
    if (room_ == 0) throw Error{Kind::failed, "the disk is full"};
  }

 private:
  size_t room_ = 300'000;
};

TEST_P(Compress, AnErrorOfTheInnerSinkEndsItWithoutHanging) {
  const std::string text = severalBlocks();
  FullDisk disk;
  const auto packer = compressTo(disk, GetParam(), 1, 3);
  const auto writeAll = [&] {
    packer->write(asBytes(text));
    packer->finish();
  };
  EXPECT_THROW(writeAll(), Error);
}

TEST(Compress, GzipOfWholeBlocksHasNoMemberTooMany) {
  const std::string text(size_t{2} << 20, 'x');
  for (const unsigned threads : {1U, 2U}) {
    const std::string packed = compressed(text, Compression::gzip, {}, threads);
    const std::string half = compressed(text.substr(0, text.size() / 2), Compression::gzip);
    EXPECT_TRUE(packed == half + half);
  }
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
