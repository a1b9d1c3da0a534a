#include "base/twin_hasher.h"

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

namespace img {
namespace {

std::span<const std::byte> bytesOf(std::string_view text) {
  return std::as_bytes(std::span{text});
}

// A stream of headers, files and padding in pieces of all lengths, beside two hashers of one.
void compare(bool isPlain, unsigned seed) {
  std::mt19937 random{seed};
  TwinHasher twin;
  if (isPlain) twin.usePlain();
  Hasher outer, inner;
  std::string bytes(5000, '\0');
  for (int file = 0; file < 50; ++file) {
    for (char& byte : bytes) byte = static_cast<char>(random());
    const size_t header = random() % 3 == 0 ? random() % 700 : 512;
    twin.outer(bytesOf(bytes).first(header));
    outer.update(bytesOf(bytes).first(header));
    for (size_t pieces = random() % 4; pieces > 0; --pieces) {
      const size_t size = random() % 2 == 0 ? random() % bytes.size() : random() % 78 * 64;
      twin.both(bytesOf(bytes).first(size));
      outer.update(bytesOf(bytes).first(size));
      inner.update(bytesOf(bytes).first(size));
    }
    if (random() % 5 == 0) {
      twin.inner(bytesOf(bytes).first(77));
      inner.update(bytesOf(bytes).first(77));
    }
    ASSERT_EQ(twin.finishInner(), inner.finish()) << "file " << file << ", seed " << seed;
  }
  EXPECT_EQ(twin.finishOuter(), outer.finish()) << "seed " << seed;
}

TEST(TwinHasher, GivesTheDigestsOfTwoHashers) {
  for (unsigned seed = 1; seed <= 20; ++seed) compare(false, seed);
}

TEST(TwinHasher, GivesTheSameWithoutTheExtensionsOfTheProcessor) {
  for (unsigned seed = 1; seed <= 20; ++seed) compare(true, seed);
}

TEST(TwinHasher, BeginsAnewAfterEachDigest) {
  TwinHasher twin;
  twin.both(bytesOf("abc"));
  EXPECT_EQ(twin.finishInner(), Digest::of("abc"));
  EXPECT_EQ(twin.finishInner(), Digest::of(""));
  EXPECT_EQ(twin.finishOuter(), Digest::of("abc"));
  EXPECT_EQ(twin.finishOuter(), Digest::of(""));
}

// The standard's own example of two blocks (FIPS 180-4 says where it is published).
TEST(TwinHasher, KnowsTheExampleOfTheStandard) {
  const std::string text = "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq";
  TwinHasher twin;
  twin.both(bytesOf(text));
  EXPECT_EQ(twin.finishInner().hex(),
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
}

}  // namespace
}  // namespace img
