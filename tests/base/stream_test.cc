#include "base/stream.h"

#include <gtest/gtest.h>

#include <limits>

#include "base/error.h"
#include "base/process.h"

namespace img {
namespace {

// Gives one byte per read: what a slow pipe does.
class TrickleSource final : public Source {
 public:
  explicit TrickleSource(std::string text) : inner_(std::move(text)) {}
  size_t read(std::span<std::byte> into) override { return inner_.read(into.first(1)); }

 private:
  StringSource inner_;
};

class FailingSource final : public Source {
 public:
  explicit FailingSource(std::string text) : inner_(std::move(text)) {}
  size_t read(std::span<std::byte> into) override {
    if (const size_t count = inner_.read(into)) return count;
    throw Error{Kind::denied, "the cable was pulled"};
  }

 private:
  StringSource inner_;
};

template <class Work>
Error errorOf(const Work& work) {
  try {
    work();
  } catch (const Error& error) {
    return error;
  }
  return Error{Kind::internal, "nothing was thrown"};
}

// Text that compresses, but not to nothing.
std::string sample() {
  std::string text;
  for (unsigned i = 0; i < 40'000; ++i) text += std::to_string(i * 2654435761U) + "\n";
  return text;
}

std::string unpack(const std::string& packed) {
  StringSource source{packed};
  return readAll(*decompress(source, "layer"), "layer");
}

struct Tool {
  std::string name;
  Compression compression;
};
void PrintTo(const Tool& tool, std::ostream* out) {
  *out << tool.name;
}

class Decompress : public testing::TestWithParam<Tool> {
 protected:
  void SetUp() override {
    if (runProgram({GetParam().name, "--version"}).status.code == 127) {
      GTEST_SKIP() << GetParam().name << " is not installed";
    }
  }
  static std::string pack(const std::string& text) {
    return runProgram({GetParam().name, "-c"}, text).out;
  }
};

TEST_P(Decompress, GivesBackWhatTheToolCompressed) {
  const std::string text = sample();
  const std::string packed = pack(text);
  ASSERT_LT(packed.size(), text.size());
  EXPECT_EQ(detectCompression(packed), GetParam().compression);
  EXPECT_EQ(compressionName(GetParam().compression), GetParam().name);
  EXPECT_TRUE(unpack(packed) == text);
}

TEST_P(Decompress, WorksByteByByte) {
  TrickleSource source{pack("hello world\n")};
  EXPECT_EQ(readAll(*decompress(source, "layer"), "layer"), "hello world\n");
}

TEST_P(Decompress, GivesNothingForCompressedNothing) {
  EXPECT_EQ(unpack(pack("")), "");
}

TEST_P(Decompress, ReadsSeveralMembersInARow) {
  EXPECT_EQ(unpack(pack("one ") + pack("two")), "one two");
}

TEST_P(Decompress, CallsEveryTruncationCorrupt) {
  const std::string packed = pack("hello world, hello world, hello world\n");
  for (size_t size = 6; size < packed.size(); ++size) {
    const Error error = errorOf([&] { unpack(packed.substr(0, size)); });
    EXPECT_EQ(error.kind(), Kind::corrupt) << size << " of " << packed.size();
  }
  const std::string large = pack(sample());
  for (const size_t size : {large.size() / 2, large.size() - 20}) {
    const Error error = errorOf([&] { unpack(large.substr(0, size)); });
    EXPECT_EQ(error.kind(), Kind::corrupt) << size << " of " << large.size();
    EXPECT_TRUE(error.cause().starts_with("layer: damaged compressed data: ")) << error.cause();
  }
}

TEST_P(Decompress, CallsDamageCorrupt) {
  std::string packed = pack(sample());
  packed.replace(packed.size() / 2, 64, std::string(64, '\xff'));
  EXPECT_EQ(errorOf([&] { unpack(packed); }).kind(), Kind::corrupt);
}

TEST_P(Decompress, PassesOnTheErrorOfItsInput) {
  const std::string packed = pack(sample());
  FailingSource source{packed.substr(0, packed.size() / 2)};
  const Error error = errorOf([&] { readAll(*decompress(source, "layer"), "layer"); });
  EXPECT_EQ(error.kind(), Kind::denied);
  EXPECT_EQ(error.cause(), "the cable was pulled");
}

INSTANTIATE_TEST_SUITE_P(Tools, Decompress,
                         testing::Values(Tool{"gzip", Compression::gzip},
                                         Tool{"bzip2", Compression::bzip2},
                                         Tool{"xz", Compression::xz},
                                         Tool{"zstd", Compression::zstd}),
                         [](const auto& one) { return one.param.name; });

TEST(PlainDecompress, PassesPlainBytesThroughWhateverTheirLength) {
  for (const std::string text : {"", "a", "BZ", "\x1f", "plain text longer than any magic"}) {
    EXPECT_EQ(unpack(text), text);
  }
  EXPECT_EQ(detectCompression(""), Compression::none);
  EXPECT_EQ(compressionName(Compression::none), "none");
}

TEST(PlainDecompress, CallsAMagicWithoutItsFormatCorrupt) {
  for (const std::string& text :
       {std::string{"\x1f\x8b"}, std::string{"\x1f\x8bnot gzip at all"}, std::string{"BZhello"},
        std::string{"\xfd\x37zXZ\0 nothing of xz", 20}, std::string{"\x28\xb5\x2f\xfd"}}) {
    EXPECT_EQ(errorOf([&] { unpack(text); }).kind(), Kind::corrupt) << text;
  }
}

TEST(LimitedSource, GivesExactlyTheLimitAndNotOneByteMore) {
  StringSource exact{"12345"};
  LimitedSource enough{exact, 5, "layer"};
  StringSink sink;
  copyAll(enough, sink);
  EXPECT_EQ(sink.text, "12345");

  StringSource longer{"123456"};
  LimitedSource less{longer, 5, "layer"};
  const Error error = errorOf([&] { copyAll(less, sink); });
  EXPECT_EQ(error.kind(), Kind::corrupt);
  EXPECT_EQ(error.cause(), "layer is longer than it says");
}

TEST(LimitedSource, StopsASlowSourceAtTheSameByte) {
  TrickleSource slow{"123456"};
  LimitedSource limited{slow, 5, "layer"};
  std::byte byte{};
  for (int i = 0; i < 5; ++i) EXPECT_EQ(limited.read(std::span{&byte, 1}), 1U);
  EXPECT_THROW(limited.read(std::span{&byte, 1}), Error);
}

TEST(LimitedSource, TakesTheLargestLimitForNone) {
  StringSource source{"12345"};
  LimitedSource limited{source, std::numeric_limits<std::uint64_t>::max(), "layer"};
  StringSink sink;
  copyAll(limited, sink);
  EXPECT_EQ(sink.text, "12345");
}

TEST(HashingSource, KnowsDigestAndSizeOfWhatPassed) {
  const std::string text = sample();
  StringSource source{text};
  HashingSource hashing{source};
  EXPECT_TRUE(readAll(hashing, "x") == text);
  EXPECT_EQ(hashing.size(), text.size());
  EXPECT_EQ(hashing.digest(), Digest::of(text));
}

TEST(PeekedSource, ShowsTheHeadAndGivesItOutAgain) {
  TrickleSource source{"abcdef"};
  PeekedSource peeked{source, 4};
  EXPECT_EQ(peeked.head(), "abcd");
  EXPECT_EQ(readAll(peeked, "x"), "abcdef");
  EXPECT_EQ(peeked.head(), "abcd") << "still there after reading";
}

TEST(PeekedSource, ShowsAllThereIsOfAShortSource) {
  StringSource source{"ab"};
  PeekedSource peeked{source, 4};
  EXPECT_EQ(peeked.head(), "ab");
  EXPECT_EQ(readAll(peeked, "x"), "ab");
}

TEST(ReadAll, RefusesASourceOverTheLimit) {
  StringSource fits{"12345"};
  EXPECT_EQ(readAll(fits, "config", 5), "12345");
  StringSource source{"123456"};
  EXPECT_EQ(errorOf([&] { readAll(source, "config", 5); }).kind(), Kind::corrupt);
}

TEST(FdStreams, CarryBytesThroughAPipe) {
  Pipe pipe = Pipe::make();
  FdSink sink{std::move(pipe.write), "pipe"};
  FdSource source{std::move(pipe.read), "pipe"};
  sink.write(asBytes("through"));
  sink.fd().reset();
  EXPECT_EQ(readAll(source, "pipe"), "through");
}

}  // namespace
}  // namespace img
