#include "store/side_hasher.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "base/fd.h"

namespace img::store {
namespace {

std::string someText(size_t size) {
  std::string text;
  for (size_t i = 0; text.size() < size; ++i) text += std::to_string(i * 7919);
  text.resize(size);
  return text;
}

struct Stream {
  const char* name;
  size_t size, block;
};
void PrintTo(const Stream& c, std::ostream* out) {
  *out << c.name;
}
constexpr Stream kStreams[] = {
    {"Nothing", 0, 1},
    {"OneByte", 1, 1},
    {"TooShortForAThread", 1 << 20, 65536},
    {"JustLongEnough", (1 << 20) + 1, 65536},
    {"Long", 9'000'001, 262144},
    {"LongInUnevenBlocks", 5'000'000, 99'991},
};
class Streams : public testing::TestWithParam<Stream> {};

// One buffer is filled again and again, as those of a reader are.
TEST_P(Streams, HaveTheDigestOfTheirBytesWhoeverHashesThem) {
  const std::string text = someText(GetParam().size);
  std::vector<std::byte> buffer(GetParam().block);
  SideHasher hasher;
  for (size_t at = 0; at < text.size(); at += buffer.size()) {
    const auto part = std::string_view{text}.substr(at, buffer.size());
    hasher.wait();
    std::copy_n(asBytes(part).begin(), part.size(), buffer.begin());
    hasher.start(std::span{buffer}.first(part.size()));
  }
  EXPECT_EQ(hasher.finish(), Digest::of(text));
  EXPECT_EQ(hasher.size(), text.size());
}
INSTANTIATE_TEST_SUITE_P(Sizes, Streams, testing::ValuesIn(kStreams),
                         [](const auto& test) { return std::string{test.param.name}; });

TEST(SideHasher, IsDoneWithItsBlockWhenItGoes) {
  std::vector<std::byte> bytes(size_t{4} << 20);
  auto hasher = std::make_unique<SideHasher>();
  hasher->start(bytes);
  hasher.reset();
  bytes.clear();  // nobody reads them any more: the sanitizers look at this
  EXPECT_EQ(hasher, nullptr);
}

}  // namespace
}  // namespace img::store
