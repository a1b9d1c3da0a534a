// The 512-byte tar header as bytes: offsets, and what reader and writer share. POSIX pax(1) "ustar
// Interchange Format", tar(5) for the GNU forms. Internal to the tar units.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
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

// The checksum counts its own field as blanks. Some old writers summed signed characters.
struct Checksum {
  std::int64_t unsignedSum = 0, signedSum = 0;
};
inline Checksum checksumOf(const std::byte* header) {
  Checksum sum;
  for (size_t i = 0; i < kBlock; ++i) {
    const bool own = i >= kChecksum.offset && i < kChecksum.offset + kChecksum.length;
    const auto value = own ? std::uint8_t{' '} : std::to_integer<std::uint8_t>(header[i]);
    sum.unsignedSum += value;
    sum.signedSum += static_cast<std::int8_t>(value);
  }
  return sum;
}

}  // namespace img::store::tarfmt
