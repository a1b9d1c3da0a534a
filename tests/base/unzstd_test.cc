#include "base/unzstd.h"

#include <gtest/gtest.h>
#include <zstd.h>

#include "base/compress.h"
#include "base/error.h"

namespace img {
namespace {

std::string frame(const std::string& text) {
  StringSink sink;
  const auto zstd = compressTo(sink, Compression::zstd);
  zstd->write(asBytes(text));
  zstd->finish();
  return sink.text;
}

std::string unpack(const std::string& packed) {
  const auto plain = unzstd(std::make_unique<StringSource>(packed), "layer");
  return readAll(*plain, "layer");
}

std::string problemOf(const std::string& packed) {
  try {
    unpack(packed);
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), Kind::corrupt);
    return error.cause();
  }
  return "";
}

TEST(Unzstd, GivesOutMoreThanOneBufferHolds) {
  std::string text;
  for (unsigned i = 0; i < 300'000; ++i) text += std::to_string(i);
  EXPECT_TRUE(unpack(frame(text)) == text);
  EXPECT_TRUE(unpack(frame(std::string(5'000'000, 'x'))) == std::string(5'000'000, 'x'));
}

TEST(Unzstd, FillsEvenTheSmallestBuffers) {
  const auto plain = unzstd(std::make_unique<StringSource>(frame(std::string(1000, 'y'))), "layer");
  std::byte one{};
  size_t count = 0;
  while (plain->read({&one, 1}) == 1) ++count;
  EXPECT_EQ(count, 1000U);
}

TEST(Unzstd, SkipsSkippableFrames) {
  const std::string skippable{"\x50\x2a\x4d\x18\x03\0\0\0abc", 11};
  EXPECT_EQ(unpack(frame("one ") + skippable + frame("") + frame("two")), "one two");
}

TEST(Unzstd, RefusesWhatFollowsAndIsNoFrame) {
  EXPECT_TRUE(
      problemOf(frame("text") + "garbage garbage").starts_with("layer: damaged compressed data: "));
}

TEST(Unzstd, ChecksTheChecksum) {
  std::string packed = frame("text");
  packed.back() = static_cast<char>(packed.back() ^ 1);
  EXPECT_TRUE(problemOf(packed).starts_with("layer: damaged compressed data: "));
}

TEST(Unzstd, RefusesAWindowThatNeedsMoreMemoryThanAllowed) {
  const std::unique_ptr<ZSTD_CCtx, decltype(&::ZSTD_freeCCtx)> context{::ZSTD_createCCtx(),
                                                                       &::ZSTD_freeCCtx};
  const auto packed = [&](int windowLog) {
    ::ZSTD_CCtx_setParameter(context.get(), ZSTD_c_windowLog, windowLog);
    std::string out(1000, '\0');
    ZSTD_outBuffer to{out.data(), out.size(), 0};
    for (const ZSTD_EndDirective end : {ZSTD_e_continue, ZSTD_e_end}) {  // the size is not known
      ZSTD_inBuffer from{"text", end == ZSTD_e_end ? size_t{0} : size_t{4}, 0};
      ::ZSTD_compressStream2(context.get(), &to, &from, end);
    }
    return out.substr(0, to.pos);
  };
  EXPECT_EQ(unpack(packed(27)), "text");
  EXPECT_NE(problemOf(packed(28)), "");
}

}  // namespace
}  // namespace img
