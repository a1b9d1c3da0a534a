#include "base/inflate.h"

#include <gtest/gtest.h>
#include <zlib.h>

#include <random>

#include "tests/base/fuzz_inflate.h"

namespace img {
namespace {

using testing::inflateOurs, testing::inflateZlib;

constexpr size_t kWhole = size_t{1} << 30;

std::string deflateRaw(std::string text, int level, int strategy, int windowBits = 15) {
  z_stream stream{};
  EXPECT_EQ(::deflateInit2(&stream, level, Z_DEFLATED, -windowBits, 8, strategy), Z_OK);
  std::string packed(::deflateBound(&stream, text.size()) + 64, '\0');
  stream.next_in = reinterpret_cast<Bytef*>(text.data());
  stream.avail_in = static_cast<uInt>(text.size());
  stream.next_out = reinterpret_cast<Bytef*>(packed.data());
  stream.avail_out = static_cast<uInt>(packed.size());
  EXPECT_EQ(::deflate(&stream, Z_FINISH), Z_STREAM_END);
  packed.resize(stream.total_out);
  ::deflateEnd(&stream);
  return packed;
}

// Words of a small vocabulary: matches near and far, of all lengths.
std::string prose(size_t size, unsigned seed) {
  std::mt19937 random{seed};
  std::string text;
  while (text.size() < size) {
    const unsigned kind = random() % 16;
    if (kind == 0 && text.size() > 40'000) {
      text += text.substr(text.size() - 1 - random() % 32'768, random() % 300);
    } else if (kind == 1) {
      text.append(random() % 700, static_cast<char>('a' + random() % 3));
    } else if (kind == 2) {
      for (auto i = random() % 60; i > 0; --i) text += static_cast<char>(random());
    } else {
      text += "word" + std::to_string(random() % 200) + " ";
    }
  }
  text.resize(size);
  return text;
}

std::string noise(size_t size, unsigned seed) {
  std::mt19937 random{seed};
  std::string text(size, '\0');
  for (char& c : text) c = static_cast<char>(random());
  return text;
}

struct Form {
  const char* name;
  int level, strategy, windowBits;
};
void PrintTo(const Form& form, std::ostream* out) {
  *out << form.name;
}

class Inflate : public ::testing::TestWithParam<Form> {
 protected:
  static std::string pack(const std::string& text) {
    return deflateRaw(text, GetParam().level, GetParam().strategy, GetParam().windowBits);
  }
};

TEST_P(Inflate, GivesBackTextsOfAllSizes) {
  for (const size_t size : {0, 1, 2, 257, 258, 259, 1000, 32'767, 32'769, 65'535, 65'537, 131'071,
                            131'072, 131'073, 700'000}) {
    const std::string text = prose(size, static_cast<unsigned>(size));
    EXPECT_TRUE(inflateOurs(pack(text), kWhole) == text) << size;
  }
}

TEST_P(Inflate, GivesBackNoiseAndRepetition) {
  for (const std::string& text :
       {noise(300'000, 1), std::string(300'000, 'x'), noise(7, 2) + std::string(100'000, '\0')}) {
    EXPECT_TRUE(inflateOurs(pack(text), kWhole) == text);
  }
}

TEST_P(Inflate, TakesInputInPiecesOfAnySize) {
  const std::string text = prose(150'000, 5);
  const std::string packed = pack(text);
  for (const size_t piece : {1, 2, 31, 32, 33, 4096}) {
    EXPECT_TRUE(inflateOurs(packed, piece) == text) << piece;
  }
}

TEST_P(Inflate, CallsEveryTruncationDamaged) {
  const std::string packed = pack(prose(400, 6));
  for (size_t size = 0; size < packed.size(); ++size) {
    EXPECT_EQ(inflateOurs(packed.substr(0, size), kWhole), std::nullopt) << size;
  }
}

TEST_P(Inflate, JudgesDamageAsZlibDoes) {
  std::mt19937 random{7};
  size_t damaged = 0;
  for (unsigned round = 0; round < 1500; ++round) {
    std::string packed = pack(prose(random() % 1500, round));
    for (auto i = 1 + random() % 3; i > 0 && !packed.empty(); --i)
      packed[random() % std::min<size_t>(packed.size(), 120)] = static_cast<char>(random());
    const auto ours = inflateOurs(packed, 1 + random() % 100);
    ASSERT_EQ(ours, inflateZlib(packed)) << "round " << round;
    damaged += ours ? 0 : 1;
  }
  EXPECT_GT(damaged, 100U);
}

INSTANTIATE_TEST_SUITE_P(Forms, Inflate,
                         ::testing::Values(Form{"Stored", 0, Z_DEFAULT_STRATEGY, 15},
                                           Form{"Fast", 1, Z_DEFAULT_STRATEGY, 15},
                                           Form{"Default", 6, Z_DEFAULT_STRATEGY, 15},
                                           Form{"Best", 9, Z_DEFAULT_STRATEGY, 15},
                                           Form{"SmallWindow", 6, Z_DEFAULT_STRATEGY, 9},
                                           Form{"FixedCodes", 6, Z_FIXED, 15},
                                           Form{"HuffmanOnly", 6, Z_HUFFMAN_ONLY, 15},
                                           Form{"RunLengths", 6, Z_RLE, 15}),
                         [](const auto& one) { return std::string{one.param.name}; });

TEST(InflateNoise, IsJudgedAsZlibDoes) {
  for (unsigned seed = 0; seed < 4000; ++seed) {
    const std::string bytes = noise(1 + seed % 90, seed);
    ASSERT_EQ(inflateOurs(bytes, kWhole), inflateZlib(bytes)) << "seed " << seed;
  }
}

// Skewed counts give codes of up to 15 bits: subtables of both alphabets.
TEST(InflateCodes, MayHaveFifteenBits) {
  std::string text;
  for (unsigned i = 0, count = 1; i < 20; ++i, count = count * 8 / 5 + 1)
    text.append(count, static_cast<char>('a' + i));
  std::shuffle(text.begin(), text.end(), std::mt19937{3});
  EXPECT_TRUE(inflateOurs(deflateRaw(text, 9, Z_HUFFMAN_ONLY), kWhole) == text);
  const std::string mixed = prose(500'000, 9) + text + noise(3000, 4) + prose(200'000, 10);
  EXPECT_TRUE(inflateOurs(deflateRaw(mixed, 9, Z_DEFAULT_STRATEGY), kWhole) == mixed);
}

TEST(InflateTables, RefuseCodesThatContradictEachOther) {
  const auto entry = [](unsigned symbol) { return symbol << 16; };
  const auto problem = [&](std::vector<std::uint8_t> lengths, bool mayBeIncomplete) {
    std::array<inflate::Entry, 512> table{};
    inflate::TableBuilder builder{table, 8, entry};
    const char* text = builder.build(lengths, mayBeIncomplete);
    return std::string{text != nullptr ? text : ""};
  };
  EXPECT_EQ(problem({1, 1}, false), "");
  EXPECT_EQ(problem({1, 1, 1}, true), "an over-subscribed set of codes");
  EXPECT_EQ(problem({1, 2}, true), "an incomplete set of codes");
  EXPECT_EQ(problem({1}, false), "an incomplete set of codes");
  EXPECT_EQ(problem({1}, true), "");
  EXPECT_EQ(problem({0, 0}, true), "");
  EXPECT_EQ(problem(std::vector<std::uint8_t>(289, 9), true), "too many symbols");
}

}  // namespace
}  // namespace img
