#include "base/inflate_table.h"

#include <algorithm>

namespace img::inflate {
namespace {

std::uint32_t reverseBits(std::uint32_t code, unsigned count) {
  std::uint32_t reversed = 0;
  for (; count > 0; --count, code >>= 1) reversed = reversed << 1 | (code & 1);
  return reversed;
}

void put(std::span<Entry> table, Entry entry, unsigned bits, std::uint32_t code) {
  const Entry whole = entry == kInvalid ? entry : entry + (bits << 8 | bits);
  for (size_t at = code; at < table.size(); at += size_t{1} << bits) table[at] = whole;
}

}  // namespace

const char* TableBuilder::build(std::span<const std::uint8_t> lengths, bool mayBeIncomplete) {
  if (lengths.size() > kMaxSymbols) return "too many symbols";
  for (const std::uint8_t length : lengths) ++counts_[length & kMaxCodeBits];
  counts_[0] = 0;
  if (const char* problem = check(mayBeIncomplete)) return problem;
  sortSymbols(lengths);
  used_ = size_t{1} << root_;
  std::fill_n(table_.begin(), used_, kInvalid);
  // In the order of the codes, so that those of a subtable follow each other.
  std::uint32_t code = 0;
  size_t place = 0;
  for (unsigned bits = 1; bits <= longest_; ++bits, code <<= 1) {
    for (; counts_[bits] > 0; --counts_[bits], ++code, ++place) {
      if (!add(sorted_[place], bits, reverseBits(code, bits))) return "too many codes";
    }
  }
  return nullptr;
}

const char* TableBuilder::check(bool mayBeIncomplete) {
  std::int32_t left = 1;
  for (unsigned bits = 1; bits <= kMaxCodeBits; ++bits) {
    left = (left << 1) - static_cast<std::int32_t>(counts_[bits]);
    if (left < 0) return "an over-subscribed set of codes";
    if (counts_[bits] > 0) longest_ = bits;
  }
  // RFC 1951, 3.2.7: a single distance code has one bit and leaves the other one unused.
  const bool isSingle = mayBeIncomplete && longest_ <= 1;
  return left > 0 && !isSingle ? "an incomplete set of codes" : nullptr;
}

void TableBuilder::sortSymbols(std::span<const std::uint8_t> lengths) {
  std::array<size_t, kMaxCodeBits + 2> next{};
  for (unsigned bits = 1; bits <= kMaxCodeBits; ++bits) next[bits + 1] = next[bits] + counts_[bits];
  for (size_t symbol = 0; symbol < lengths.size(); ++symbol) {
    if (lengths[symbol] != 0) sorted_[next[lengths[symbol]]++] = static_cast<std::uint16_t>(symbol);
  }
}

bool TableBuilder::add(unsigned symbol, unsigned bits, std::uint32_t code) {
  const Entry entry = symbolEntry_(symbol);
  if (bits <= root_) {
    put(table_.first(size_t{1} << root_), entry, bits, code);
    return true;
  }
  const std::uint32_t prefix = code & ((1U << root_) - 1);
  if ((subtable_.empty() || prefix != prefix_) && !beginSubtable(prefix, bits)) return false;
  put(subtable_, entry, bits - root_, code >> root_);
  return true;
}

bool TableBuilder::beginSubtable(std::uint32_t prefix, unsigned bits) {
  // As wide as the longest of the codes that still fit in below this prefix.
  unsigned width = bits - root_;
  std::int32_t left = 1 << width;
  while (width + root_ < longest_) {
    left -= static_cast<std::int32_t>(counts_[width + root_]);
    if (left <= 0) break;
    ++width;
    left <<= 1;
  }
  const size_t size = size_t{1} << width;
  if (used_ + size > table_.size()) return false;
  subtable_ = table_.subspan(used_, size);
  std::fill(subtable_.begin(), subtable_.end(), kInvalid);
  table_[prefix] = static_cast<Entry>(used_) << 16 | kIsSpecial | kIsSubtable | width << 8 | root_;
  used_ += size;
  prefix_ = prefix;
  return true;
}

}  // namespace img::inflate
