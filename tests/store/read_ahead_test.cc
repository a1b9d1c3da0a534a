#include "store/read_ahead.h"

#include <atomic>

#include "tests/store/store_fixture.h"

namespace img::store::test {
namespace {

// Bytes 0, 1, 2, ... in pieces of odd sizes.
class Counting final : public Source {
 public:
  Counting(size_t size, size_t piece, bool fails = false)
      : size_(size), piece_(piece), fails_(fails) {}
  size_t read(std::span<std::byte> into) override {
    const size_t count = std::min({into.size(), piece_, size_ - at_});
    if (count == 0 && fails_) throw Error{Kind::failed, "the source broke"};
    for (size_t i = 0; i < count; ++i) into[i] = static_cast<std::byte>((at_ + i) % 251);
    at_ += count;
    return count;
  }
  std::atomic<size_t> at_ = 0;

 private:
  const size_t size_, piece_;
  const bool fails_;
};

struct Shape {
  size_t size, piece, wanted;
};
void PrintTo(const Shape& shape, std::ostream* out) {
  *out << shape.size << " bytes in pieces of " << shape.piece << ", read by " << shape.wanted;
}

class ReadAheadShapes : public testing::TestWithParam<Shape> {};

TEST_P(ReadAheadShapes, GivesAllBytesInOrder) {
  const Shape& shape = GetParam();
  Counting inner{shape.size, shape.piece};
  ReadAhead ahead{inner};
  std::vector<std::byte> buffer(shape.wanted);
  size_t at = 0;
  while (const size_t count = ahead.read(buffer)) {
    for (size_t i = 0; i < count; ++i)
      ASSERT_EQ(buffer[i], static_cast<std::byte>((at + i) % 251)) << "at " << at + i;
    at += count;
  }
  EXPECT_EQ(at, shape.size);
  EXPECT_EQ(ahead.read(buffer), 0) << "the end stays the end";
}

INSTANTIATE_TEST_SUITE_P(Sizes, ReadAheadShapes,
                         testing::Values(Shape{0, 1, 10}, Shape{1, 1, 10}, Shape{1000, 7, 13},
                                         Shape{ReadAhead::kBlockBytes, 1 << 20, 1 << 20},
                                         Shape{5'000'000, 65536, 4096},
                                         Shape{5'000'000, 4099, 1 << 20}));

TEST(ReadAhead, WhatTheSourceThrowsComesAfterItsBytes) {
  Counting inner{1000, 100, true};
  ReadAhead ahead{inner};
  std::vector<std::byte> buffer(64);
  size_t total = 0;
  const Error error = errorOf([&] {
    while (const size_t count = ahead.read(buffer)) total += count;
  });
  EXPECT_EQ(error.cause(), "the source broke");
  EXPECT_EQ(total, 1000);
  EXPECT_EQ(errorOf([&] { ahead.read(buffer); }).cause(), "the source broke");
}

TEST(ReadAhead, ReadsNoFurtherThanItsBlocks) {
  Counting inner{size_t{100} << 20, 65536};
  {
    ReadAhead ahead{inner};
    std::vector<std::byte> buffer(10);
    EXPECT_EQ(ahead.read(buffer), 10);
  }
  EXPECT_LE(inner.at_, 6 * ReadAhead::kBlockBytes);
}

TEST(ReadAhead, DoesNotWaitForABlockToBecomeFull) {
  Pipe pipe = Pipe::make();
  FdSource inner{std::move(pipe.read), "pipe"};
  ReadAhead ahead{inner};
  std::vector<std::byte> buffer(100);
  writeAll(pipe.write.get(), std::string_view{"first"}, "pipe");
  EXPECT_EQ(ahead.read(buffer), 5);
  writeAll(pipe.write.get(), std::string_view{"second"}, "pipe");
  EXPECT_EQ(ahead.read(buffer), 6);
  pipe.write.reset();
  EXPECT_EQ(ahead.read(buffer), 0);
}

}  // namespace
}  // namespace img::store::test
