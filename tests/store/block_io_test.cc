#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "store/block_pipe.h"
#include "store/block_reader.h"

namespace img::store {
namespace {

constexpr size_t kBytes = size_t{5} << 20;

std::string pattern(size_t size) {
  std::string text(size, '\0');
  for (size_t i = 0; i < size; ++i) text[i] = static_cast<char>(i * 2654435761U >> 11);
  return text;
}

// Gives a few bytes at a time, and fails after `limit`.
class SlowSource final : public Source {
 public:
  SlowSource(std::string text, size_t limit) : text_(std::move(text)), limit_(limit) {}
  size_t read(std::span<std::byte> into) override {
    if (at_ >= limit_) throw Error{Kind::corrupt, "damaged"};
    const size_t count = std::min({into.size(), text_.size() - at_, size_t{40000}, limit_ - at_});
    std::memcpy(into.data(), text_.data() + at_, count);
    at_ += count;
    return count;
  }

 private:
  std::string text_;
  size_t limit_;
  size_t at_ = 0;
};

class BlockReading : public testing::TestWithParam<BlockReader::Mode> {};
INSTANTIATE_TEST_SUITE_P(Modes, BlockReading,
                         testing::Values(BlockReader::Mode::direct, BlockReader::Mode::overlapped));

TEST_P(BlockReading, GivesEveryByteInOrder) {
  for (const size_t size : {size_t{0}, size_t{1}, size_t{1} << 20, (size_t{1} << 20) + 1, kBytes}) {
    SlowSource source{pattern(size), kBytes + 1};
    BlockReader reader{source, GetParam()};
    std::string text;
    for (auto piece = reader.next(); !piece.empty(); piece = reader.next()) text += asText(piece);
    EXPECT_TRUE(text == pattern(size)) << size;
    EXPECT_TRUE(reader.next().empty());
  }
}

TEST_P(BlockReading, PassesOnAFailureBehindWhatCameBefore) {
  SlowSource source{pattern(kBytes), size_t{3} << 20};
  BlockReader reader{source, GetParam()};
  size_t got = 0;
  EXPECT_THROW(
      {
        for (auto piece = reader.next(); !piece.empty(); piece = reader.next()) got += piece.size();
      },
      Error);
  EXPECT_EQ(got, size_t{3} << 20);
}

TEST_P(BlockReading, MayStopHalfway) {
  SlowSource source{pattern(kBytes), kBytes + 1};
  BlockReader reader{source, GetParam()};
  for (int i = 0; i < 6; ++i) reader.next();
}

class BlockWriting : public testing::TestWithParam<BlockPipe::Mode> {};
INSTANTIATE_TEST_SUITE_P(Modes, BlockWriting,
                         testing::Values(BlockPipe::Mode::direct, BlockPipe::Mode::overlapped));

TEST_P(BlockWriting, DeliversEveryByteInOrder) {
  for (const size_t size : {size_t{0}, size_t{1}, BlockPipe::kBlockBytes, kBytes, kBytes + 7}) {
    const std::string text = pattern(size);
    StringSink sink;
    BlockPipe pipe{sink, GetParam()};
    for (size_t at = 0; at < size;) {
      const auto space = pipe.space();
      const size_t count = std::min({space.size(), size - at, size_t{70000}});
      std::memcpy(space.data(), text.data() + at, count);
      pipe.advance(count);
      at += count;
    }
    pipe.finish();
    EXPECT_TRUE(sink.text == text) << size;
  }
}

TEST_P(BlockWriting, MayBeGivenUp) {
  StringSink sink;
  BlockPipe pipe{sink, GetParam()};
  for (int i = 0; i < 8; ++i) pipe.advance(pipe.space().size());
}

}  // namespace
}  // namespace img::store
