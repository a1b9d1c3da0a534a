#include "base/gunzip.h"

#include <gtest/gtest.h>
#include <libdeflate.h>
#include <zlib.h>

#include "base/error.h"

namespace img {
namespace {

std::string member(std::string text) {
  z_stream stream{};
  EXPECT_EQ(::deflateInit2(&stream, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY), Z_OK);
  std::string packed(text.size() + 200, '\0');
  stream.next_in = reinterpret_cast<Bytef*>(text.data());
  stream.avail_in = static_cast<uInt>(text.size());
  stream.next_out = reinterpret_cast<Bytef*>(packed.data());
  stream.avail_out = static_cast<uInt>(packed.size());
  EXPECT_EQ(::deflate(&stream, Z_FINISH), Z_STREAM_END);
  packed.resize(stream.total_out);
  ::deflateEnd(&stream);
  return packed;
}

std::string unpack(const std::string& packed) {
  const auto plain = gunzip(std::make_unique<StringSource>(packed), "layer");
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

// The member's header with these flags, and what they ask for.
std::string withHeader(const std::string& packed, char flags, const std::string& fields) {
  std::string header = packed.substr(0, 10);
  header[3] = flags;
  return header + fields + packed.substr(10);
}

TEST(Gunzip, SkipsTheOptionalFieldsOfAHeader) {
  const std::string packed = member("text");
  EXPECT_EQ(unpack(withHeader(packed, 4, std::string{"\x03\0abc", 5})), "text");
  EXPECT_EQ(unpack(withHeader(packed, 8, std::string{"name\0", 5})), "text");
  EXPECT_EQ(unpack(withHeader(packed, 16, std::string{"comment\0", 8})), "text");
  EXPECT_EQ(unpack(withHeader(packed, 28, std::string{"\0\0name\0comment\0", 15})), "text");
  EXPECT_EQ(unpack(withHeader(packed, 8, std::string(1000, 'n') + '\0')), "text");
}

TEST(Gunzip, ChecksTheHeadersOwnChecksum) {
  const std::string packed = member("text");
  std::string head = packed.substr(0, 10);
  head[3] = 2;
  const auto crc = ::libdeflate_crc32(0, head.data(), head.size());
  const std::string right{static_cast<char>(crc & 0xff), static_cast<char>(crc >> 8 & 0xff)};
  EXPECT_EQ(unpack(head + right + packed.substr(10)), "text");
  EXPECT_EQ(problemOf(head + std::string(2, static_cast<char>(~right[0])) + packed.substr(10)),
            "layer: damaged compressed data: a damaged header");
}

TEST(Gunzip, RefusesOtherMethodsAndUnknownFlags) {
  std::string packed = member("text");
  packed[2] = 7;
  EXPECT_EQ(problemOf(packed), "layer: damaged compressed data: an unknown method");
  EXPECT_EQ(problemOf(withHeader(member("text"), 32, "")),
            "layer: damaged compressed data: unknown flags");
}

TEST(Gunzip, ChecksCrcAndLengthOfEveryMember) {
  const std::string packed = member("first ");
  for (const bool isSecond : {false, true}) {
    const std::string before = isSecond ? member("zeroth ") : "";
    std::string crc = packed;
    crc[crc.size() - 8] = static_cast<char>(crc[crc.size() - 8] ^ 1);
    EXPECT_EQ(problemOf(before + crc), "layer: damaged compressed data: its CRC-32 is another one");
    std::string length = packed;
    length.back() = 1;
    EXPECT_EQ(problemOf(before + length),
              "layer: damaged compressed data: its length is another one");
  }
}

TEST(Gunzip, ReadsManyMembersEmptyOnesToo) {
  std::string packed, text;
  for (int i = 0; i < 300; ++i) {
    const std::string piece = i % 3 == 0 ? "" : std::string(static_cast<size_t>(i), 'x');
    packed += member(piece);
    text += piece;
  }
  EXPECT_TRUE(unpack(packed) == text);
}

TEST(Gunzip, IgnoresWhatFollowsAndIsNoMember) {
  EXPECT_EQ(unpack(member("text") + std::string(2000, '\0')), "text");
  EXPECT_EQ(unpack(member("text") + "garbage"), "text");
  EXPECT_EQ(unpack(member("text") + "\x1f"), "text");
  EXPECT_EQ(problemOf(member("text") + member("more").substr(0, 12)),
            "layer: damaged compressed data: it ends too early");
  EXPECT_EQ(problemOf(member("text") + "\x1f\x8b"),
            "layer: damaged compressed data: it ends in a header");
}

}  // namespace
}  // namespace img
