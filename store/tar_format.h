// The 512-byte tar header as bytes: offsets, and what reader and writer share. POSIX pax(1) "ustar
// Interchange Format", tar(5) for the GNU forms. Internal to the tar units.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

namespace img::store::tarfmt {

inline constexpr size_t kBlock = 512;
using Block = std::array<std::byte, kBlock>;

struct Field {
  size_t offset, length;
};
inline constexpr Field kName{0, 100}, kMode{100, 8}, kUid{108, 8}, kGid{116, 8}, kSize{124, 12},
    kMtime{136, 12}, kChecksum{148, 8}, kLinkName{157, 100}, kMagic{257, 8}, kDevMajor{329, 8},
    kDevMinor{337, 8}, kPrefix{345, 155};
inline constexpr size_t kType = 156;
// Old GNU sparse headers ('S'): four map entries of two 12-byte numbers, "more follows", real size.
inline constexpr size_t kGnuSparse = 386, kGnuIsExtended = 482, kGnuExtensionIsExtended = 504;
inline constexpr Field kGnuRealSize{483, 12};
// Schily's xstar ends its header with "tar\0" and keeps times in the last 24 bytes of the prefix.
inline constexpr Field kXstarMagic{508, 4}, kXstarTimes{475, 25};

inline constexpr std::string_view kUstarMagic{
    "ustar\0"
    "00",
    8};
inline constexpr std::string_view kGnuMagic{"ustar  \0", 8};

// Bodies of extension headers and sparse maps; Go's archive/tar draws the same line.
inline constexpr std::uint64_t kMaxExtension = std::uint64_t{1} << 20;

inline constexpr std::uint64_t paddingOf(std::uint64_t size) {
  return (kBlock - size % kBlock) % kBlock;
}

// The checksum counts its own field as blanks. Some old writers summed signed characters: those
// from 0x80 on are then 256 less.
struct Checksum {
  std::int64_t unsignedSum = 0, signedSum = 0;
};
inline Checksum checksumOf(const std::byte* header) {
  // Eight bytes at a time: a layer has tens of thousands of headers. Four sums of 16 bits each take
  // two bytes of every word, eight counters of 8 bits its top bits.
  constexpr std::uint64_t kEvenBytes = 0x00ff00ff00ff00ff, kOnes = 0x0101010101010101;
  static_assert(kBlock / 8 * 2 * 255 <= 0xffff && kBlock / 8 <= 0xff);
  std::uint64_t sums = 0, topBits = 0;
  for (size_t at = 0; at < kBlock; at += 8) {
    std::uint64_t word;
    std::memcpy(&word, header + at, sizeof word);
    sums += (word & kEvenBytes) + (word >> 8 & kEvenBytes);
    topBits += word >> 7 & kOnes;
  }
  Checksum sum;
  std::int64_t negatives = 0;
  for (; topBits != 0; topBits >>= 8) negatives += static_cast<std::int64_t>(topBits & 0xff);
  for (; sums != 0; sums >>= 16) sum.unsignedSum += static_cast<std::int64_t>(sums & 0xffff);
  for (size_t i = kChecksum.offset; i < kChecksum.offset + kChecksum.length; ++i) {
    const auto value = std::to_integer<std::uint8_t>(header[i]);
    sum.unsignedSum += ' ' - value;
    negatives -= value >> 7;
  }
  sum.signedSum = sum.unsignedSum - 256 * negatives;
  return sum;
}

}  // namespace img::store::tarfmt
