// DEFLATE (RFC 1951) undone, pulled from a Source in constant memory. zlib's inflate takes 2.1
// times as long, libdeflate wants the whole stream in memory, isa-l has no static library in
// Debian 12. What makes it fast: 64 bits of input at a time, tables that decode a symbol and its
// extra bits in one look-up, copies in words, and checks of the ends once per symbol instead of
// once per byte: the input is followed by zeros that may be read, the output by room that may be
// written. Which streams are refused is what zlib refuses; tests/base compares the two.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/inflate_table.h"
#include "base/stream.h"

namespace img {

// The input of a decoder. Between `at()` and the end of the loaded bytes there are always at least
// kAhead bytes after refill(); behind the end of the source they are zero.
class DecoderInput {
 public:
  static constexpr size_t kAhead = 32;
  // So many bytes before `at` stay: a decoder gives whole bytes back.
  static constexpr size_t kBehind = 8;

  explicit DecoderInput(Source& source);
  // Drops what lies before `at`, but for kBehind bytes, and loads more. Returns where `at` is now.
  const std::uint8_t* refill(const std::uint8_t* at);
  [[nodiscard]] const std::uint8_t* begin() const { return buffer_.data(); }
  // Up to here kAhead bytes can be read.
  [[nodiscard]] const std::uint8_t* limit() const { return limit_; }
  // Behind the last byte that came from the source.
  [[nodiscard]] const std::uint8_t* end() const { return end_; }
  [[nodiscard]] bool isAtEnd() const { return atEnd_; }

 private:
  Source& source_;
  std::vector<std::uint8_t> buffer_;
  const std::uint8_t* end_;
  const std::uint8_t* limit_;
  bool atEnd_ = false;
};

// One DEFLATE stream after the other out of one input.
class Inflater {
 public:
  // `name` is for errors. `input` outlives this.
  Inflater(DecoderInput& input, std::string name);
  Inflater(const Inflater&) = delete;
  Inflater& operator=(const Inflater&) = delete;

  // A stream begins at `at`, which is a place in the input.
  void start(const std::uint8_t* at);
  // The next bytes, valid until the next call; empty at the end of the stream. Throws
  // Kind::corrupt.
  std::span<const std::byte> next();
  // After the end: the first byte behind the stream.
  [[nodiscard]] const std::uint8_t* at() const { return reader_.at; }

 private:
  static constexpr unsigned kLiteralRoot = 11, kDistanceRoot = 8, kPrecodeRoot = 7;
  // The most entries that 286 codes of at most 15 bits (30 codes) can need with such a root:
  // "enough" of zlib's examples, rounded up.
  static constexpr size_t kLiteralEntries = 2400, kDistanceEntries = 512;
  using Entry = inflate::Entry;
  enum class Block { none, stored, coded };

  struct BitReader {
    const std::uint8_t* at = nullptr;
    std::uint64_t bits = 0;  // read, not used yet, the next one lowest
    unsigned count = 0;      // of them

    void fill();
    void drop(unsigned used) {
      bits >>= used;
      count -= used;
    }
    // The first byte of which no bit was used.
    [[nodiscard]] const std::uint8_t* unused() const { return at - (count >> 3); }
  };

  [[noreturn]] void fail(const char* what) const;
  [[noreturn]] void failAt(const BitReader& reader, const char* what);
  [[nodiscard]] bool isPastEnd() const;
  void loadInput();
  std::uint32_t takeBits(unsigned count);
  void alignToByte();
  void checkEnd() const;
  void beginBlock();
  void beginStored();
  void readCodes();
  void useFixedCodes();
  void buildCodes(unsigned literals, unsigned distances);
  void copyStored();
  void decodeCoded();
  bool decodeRun(const std::uint8_t* outEnd);
  Entry takeLiteral(Entry entry, BitReader& reader, std::uint8_t*& out) const;
  Entry longLiteral(Entry entry, BitReader& reader) const;
  Entry distanceOf(BitReader& reader);
  void readLengths(std::span<const Entry> precode, unsigned total);

  DecoderInput& input_;
  std::string name_;
  BitReader reader_;
  Block block_ = Block::none;
  bool isLast_ = false;
  std::uint32_t storedLeft_ = 0;
  bool hasFixedCodes_ = false;  // the tables hold those

  std::vector<std::uint8_t> window_;
  std::uint8_t* out_;
  const std::uint8_t* oldest_;  // what a match may reach

  std::array<std::uint8_t, 320> lengths_{};
  std::array<Entry, kLiteralEntries> literals_{};
  std::array<Entry, kDistanceEntries> distances_{};
};

}  // namespace img
