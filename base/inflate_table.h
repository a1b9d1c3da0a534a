// The decoding tables of DEFLATE: canonical Huffman codes (RFC 1951, 3.2.2) into a table that is
// indexed by the next `root` bits of the input; codes with more bits go on in subtables behind it.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace img::inflate {

// value << 16 | flags | bits of the code << 8 | bits of code and extra bits together.
// Of a subtable: its place << 16 | flags | its bits << 8 | bits of the root.
using Entry = std::uint32_t;
constexpr Entry kIsLiteral = 1U << 15;
constexpr Entry kIsSpecial = 1U << 14;   // neither literal nor length nor distance
constexpr Entry kIsSubtable = 1U << 13;  // with kIsSpecial
constexpr Entry kIsEnd = 1U << 12;       // with kIsSpecial
constexpr Entry kInvalid = kIsSpecial;   // and nothing else
constexpr unsigned kMaxCodeBits = 15;

class TableBuilder {
 public:
  // `symbolEntry` gives the entry of a symbol: value, flags and extra bits, the code not counted.
  TableBuilder(std::span<Entry> table, unsigned root, Entry (*symbolEntry)(unsigned))
      : table_(table), root_(root), symbolEntry_(symbolEntry) {}

  // From the code lengths of at most 288 symbols. nullptr, or what is wrong with them. A set that
  // leaves codes unused is wrong but for a single code of one bit, or none, if those are allowed.
  const char* build(std::span<const std::uint8_t> lengths, bool mayBeIncomplete);

 private:
  const char* check(bool mayBeIncomplete);
  void sortSymbols(std::span<const std::uint8_t> lengths);
  bool add(unsigned symbol, unsigned bits, std::uint32_t code);
  bool beginSubtable(std::uint32_t prefix, unsigned bits);

  static constexpr size_t kMaxSymbols = 288;

  std::span<Entry> table_;
  unsigned root_;
  Entry (*symbolEntry_)(unsigned);
  std::array<std::uint32_t, kMaxCodeBits + 1> counts_{};  // of symbols not in the table yet
  std::array<std::uint16_t, kMaxSymbols> sorted_;         // by length, then by symbol
  unsigned longest_ = 0;
  size_t used_ = 0;
  std::uint32_t prefix_ = 0;
  std::span<Entry> subtable_;  // of prefix_
};

}  // namespace img::inflate
