#include "store/part_digests.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace img::store {
namespace {

struct Part {
  std::uint64_t begin, length;
};

struct Case {
  const char* name;
  std::vector<Part> parts;
  size_t block;  // in which the stream comes
};
void PrintTo(const Case& c, std::ostream* out) {
  *out << c.name;
}
class Parts : public testing::TestWithParam<Case> {};

std::string stream() {
  std::string text;
  for (int i = 0; text.size() < 10'000; ++i) text += std::to_string(i * 7919);
  text.resize(10'000);
  return text;
}

TEST_P(Parts, HaveTheDigestsOfTheirBytesAndSoHasTheStream) {
  const std::string text = stream();
  PartDigests digests;
  std::vector<Digest> told;
  for (const Part& part : GetParam().parts) {
    digests.announce(part.begin, part.length,
                     [&](const Digest& digest) { told.push_back(digest); });
  }
  const auto bytes = std::as_bytes(std::span{text});
  for (size_t begin = 0; begin < bytes.size(); begin += GetParam().block)
    digests.update(bytes.subspan(begin, std::min(GetParam().block, bytes.size() - begin)));
  EXPECT_EQ(digests.finish(), Digest::of(text));
  std::vector<Digest> expected;
  for (const Part& part : GetParam().parts) {
    expected.push_back(Digest::of(std::string_view{text}.substr(part.begin, part.length)));
  }
  EXPECT_EQ(told, expected);
}

INSTANTIATE_TEST_SUITE_P(
    Streams, Parts,
    testing::Values(Case{"NoParts", {}, 4096}, Case{"TheWholeStream", {{0, 10'000}}, 4096},
                    Case{"ManyInOneBlock", {{512, 100}, {1024, 512}, {2048, 1}}, 10'000},
                    Case{"OneAfterTheOther", {{0, 64}, {64, 64}, {128, 1000}}, 512},
                    Case{"AcrossBlocks", {{500, 5000}, {6000, 4000}}, 512},
                    Case{"UnevenBlocks", {{511, 3001}, {4000, 777}}, 97},
                    Case{"Nothing", {{512, 0}}, 512}),
    [](const auto& test) { return std::string{test.param.name}; });

// As a thread that reads does it beside the one that hashes.
TEST(PartDigests, MayBeAnnouncedWhenTheStreamHasBegun) {
  const std::string text = stream();
  const auto bytes = std::as_bytes(std::span{text});
  PartDigests digests;
  digests.update(bytes.first(1024));
  Digest told;
  digests.announce(1536, 300, [&](const Digest& digest) { told = digest; });
  digests.update(bytes.subspan(1024));
  EXPECT_EQ(told, Digest::of(std::string_view{text}.substr(1536, 300)));
  EXPECT_EQ(digests.finish(), Digest::of(text));
}

}  // namespace
}  // namespace img::store
