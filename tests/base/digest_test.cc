#include "base/digest.h"

#include <gtest/gtest.h>

#include <unordered_set>

#include "base/error.h"
#include "base/fd.h"

namespace img {
namespace {

constexpr std::string_view kEmptyHex =
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

// FIPS 180-2, appendix B, and the empty message.
TEST(Digest, MatchesThePublishedVectors) {
  EXPECT_EQ(Digest::of("").hex(), kEmptyHex);
  EXPECT_EQ(Digest::of("abc").hex(),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(Digest::of("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq").hex(),
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  EXPECT_EQ(Digest::of(std::string(1'000'000, 'a')).hex(),
            "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST(Digest, WritesItselfAsOciDoes) {
  const Digest digest = Digest::of("abc");
  EXPECT_EQ(digest.str(), "sha256:" + digest.hex());
  EXPECT_EQ(digest.shortHex(), "ba7816bf8f01");
  EXPECT_EQ(Digest::parse(digest.str()), digest);
  EXPECT_EQ(Digest::tryParseHex(digest.hex()), digest);
}

TEST(Digest, StartsAsZeroAndOrdersLikeItsHex) {
  EXPECT_TRUE(Digest{}.isZero());
  EXPECT_FALSE(Digest::of("").isZero());
  const Digest a = Digest::of("a");
  const Digest b = Digest::of("b");
  EXPECT_EQ(a < b, a.hex() < b.hex());
  EXPECT_NE(a, b);
}

TEST(Digest, IsAKeyOfHashTables) {
  std::unordered_set<Digest> seen{Digest::of("a"), Digest::of("b"), Digest::of("a")};
  EXPECT_EQ(seen.size(), 2U);
  EXPECT_TRUE(seen.contains(Digest::of("b")));
}

struct ParseCase {
  std::string name, text;
};
void PrintTo(const ParseCase& c, std::ostream* out) {
  *out << c.name;
}
class DigestParse : public testing::TestWithParam<ParseCase> {};

TEST_P(DigestParse, RefusesWhatIsNotTheOneForm) {
  EXPECT_FALSE(Digest::tryParse(GetParam().text));
  try {
    Digest::parse(GetParam().text);
    ADD_FAILURE() << "parsed";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), Kind::corrupt);
    EXPECT_LT(error.cause().size(), 250U);
  }
}

const std::string kHex{kEmptyHex};
INSTANTIATE_TEST_SUITE_P(Table, DigestParse,
                         testing::Values(ParseCase{"Empty", ""},
                                         ParseCase{"PrefixAlone", "sha256:"},
                                         ParseCase{"NoPrefix", kHex},
                                         ParseCase{"UpperPrefix", "SHA256:" + kHex},
                                         ParseCase{"OtherAlgorithm", "sha512:" + kHex + kHex},
                                         ParseCase{"TooShort", "sha256:" + kHex.substr(1)},
                                         ParseCase{"TooLong", "sha256:" + kHex + "0"},
                                         ParseCase{"UpperHex", "sha256:E" + kHex.substr(1)},
                                         ParseCase{"NotHex", "sha256:g" + kHex.substr(1)},
                                         ParseCase{"PathInside", "sha256:../" + kHex.substr(3)},
                                         ParseCase{"NewlineAtTheEnd", "sha256:" + kHex + "\n"},
                                         ParseCase{"BlankBefore", " sha256:" + kHex},
                                         ParseCase{"NulInside", "sha256:" + std::string(64, '\0')},
                                         ParseCase{"Endless", std::string(5000, 'x')}),
                         [](const auto& one) { return one.param.name; });

TEST(Hasher, GivesTheSameForPiecesAsForTheWhole) {
  Hasher hasher;
  hasher.update("a");
  hasher.update("");
  hasher.update(asBytes("bc"));
  EXPECT_EQ(hasher.finish(), Digest::of("abc"));
}

TEST(Hasher, StartsAnewAfterFinish) {
  Hasher hasher;
  hasher.update("left over");
  hasher.finish();
  EXPECT_EQ(hasher.finish().hex(), kEmptyHex);
}

Digest ofFields(std::initializer_list<std::string_view> fields) {
  Hasher hasher;
  for (const std::string_view field : fields) hasher.field(field);
  return hasher.finish();
}

TEST(Hasher, NoTwoSequencesOfFieldsGiveTheSameDigest) {
  const std::unordered_set<Digest> seen{
      ofFields({}),          ofFields({""}),        ofFields({"", ""}),
      ofFields({"ab", "c"}), ofFields({"a", "bc"}), ofFields({"abc"}),
      ofFields({"abc", ""}), ofFields({"", "abc"}), ofFields({"c", "ab"})};
  EXPECT_EQ(seen.size(), 9U);
}

TEST(Hasher, NumbersAreEightBytesLittleEndianOnEveryMachine) {
  Hasher hasher;
  hasher.field(std::uint64_t{0x0102});
  EXPECT_EQ(hasher.finish(), Digest::of(std::string_view{"\x02\x01\0\0\0\0\0\0", 8}));
}

}  // namespace
}  // namespace img
