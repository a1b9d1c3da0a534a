#include "base/inflate.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "base/error.h"
#include "base/inflate_table.h"

namespace img {
namespace {

static_assert(std::endian::native == std::endian::little, "the bit buffer is loaded in words");

constexpr size_t kInputBytes = size_t{128} << 10;
constexpr size_t kWindow = size_t{32} << 10;  // RFC 1951, 2: how far back a match reaches
constexpr size_t kOutputBytes = size_t{128} << 10;
// Two literals, the longest match, and the words that a copy may write too much.
constexpr size_t kOutputSlack = 2 + 258 + 32;

using inflate::Entry;
using inflate::kInvalid, inflate::kIsEnd, inflate::kIsLiteral, inflate::kIsSpecial,
    inflate::kIsSubtable;

constexpr unsigned kEndOfBlock = 256;
constexpr unsigned kLengthCodes = 29, kDistanceCodes = 30;

struct Extended {
  std::uint16_t base;
  std::uint8_t extra;
};
// RFC 1951, 3.2.5.
constexpr Extended kLengths[kLengthCodes] = {
    {3, 0},  {4, 0},  {5, 0},  {6, 0},   {7, 0},   {8, 0},   {9, 0},   {10, 0},  {11, 1}, {13, 1},
    {15, 1}, {17, 1}, {19, 2}, {23, 2},  {27, 2},  {31, 2},  {35, 3},  {43, 3},  {51, 3}, {59, 3},
    {67, 4}, {83, 4}, {99, 4}, {115, 4}, {131, 5}, {163, 5}, {195, 5}, {227, 5}, {258, 0}};
constexpr Extended kDistances[kDistanceCodes] = {
    {1, 0},     {2, 0},     {3, 0},     {4, 0},      {5, 1},      {7, 1},
    {9, 2},     {13, 2},    {17, 3},    {25, 3},     {33, 4},     {49, 4},
    {65, 5},    {97, 5},    {129, 6},   {193, 6},    {257, 7},    {385, 7},
    {513, 8},   {769, 8},   {1025, 9},  {1537, 9},   {2049, 10},  {3073, 10},
    {4097, 11}, {6145, 11}, {8193, 12}, {12289, 12}, {16385, 13}, {24577, 13}};

Entry literalSymbol(unsigned symbol) {
  if (symbol < kEndOfBlock) return symbol << 16 | kIsLiteral;
  if (symbol == kEndOfBlock) return kIsSpecial | kIsEnd;
  const unsigned index = symbol - kEndOfBlock - 1;
  if (index >= kLengthCodes) return kInvalid;
  return static_cast<std::uint32_t>(kLengths[index].base) << 16 | kLengths[index].extra;
}

Entry distanceSymbol(unsigned symbol) {
  if (symbol >= kDistanceCodes) return kInvalid;
  return static_cast<std::uint32_t>(kDistances[symbol].base) << 16 | kDistances[symbol].extra;
}

Entry precodeSymbol(unsigned symbol) {
  return symbol << 16;
}

std::uint64_t lowBits(std::uint64_t value, unsigned count) {
  return value & ((std::uint64_t{1} << count) - 1);
}

// The value of a length or distance: its base and the extra bits that follow the code.
std::uint32_t valueOf(std::uint32_t entry, std::uint64_t bits) {
  return (entry >> 16) +
         static_cast<std::uint32_t>(lowBits(bits, entry & 0xff) >> ((entry >> 8) & 0xf));
}

void copyWord(std::uint8_t* to, const std::uint8_t* from) {
  std::uint64_t word = 0;
  std::memcpy(&word, from, sizeof(word));
  std::memcpy(to, &word, sizeof(word));
}

// `length` bytes that begin `distance` bytes before `out`, word by word: up to 15 too many.
void repeat(std::uint8_t* out, std::uint32_t distance, std::uint32_t length) {
  const std::uint8_t* from = out - distance;
  const std::uint8_t* const end = out + length;
  if (distance >= 16) {
    do {
      copyWord(out, from);
      copyWord(out + 8, from + 8);
      out += 16;
      from += 16;
    } while (out < end);
  } else if (distance >= 8) {
    do {
      copyWord(out, from);
      out += 8;
      from += 8;
    } while (out < end);
  } else if (distance == 1) {
    std::memset(out, *from, length);
  } else {
    // The words overlap: of each only the first `distance` bytes are right, the next word has the
    // others.
    do {
      copyWord(out, from);
      out += distance;
      from += distance;
    } while (out < end);
  }
}

}  // namespace

DecoderInput::DecoderInput(Source& source)
    : source_(source), buffer_(kInputBytes + 2 * kAhead), end_(buffer_.data()), limit_(end_) {}

const std::uint8_t* DecoderInput::refill(const std::uint8_t* at) {
  std::uint8_t* const begin = buffer_.data();
  const size_t kept = std::min(static_cast<size_t>(at - begin), kBehind);
  size_t left = static_cast<size_t>(end_ - at) + kept;
  std::memmove(begin, at - kept, left);
  while (left < kept + 2 * kAhead && !atEnd_) {
    const auto room = std::as_writable_bytes(std::span{begin + left, kInputBytes - left});
    const size_t count = source_.read(room);
    left += count;
    atEnd_ = count == 0;
  }
  end_ = begin + left;
  limit_ = end_ - kAhead;
  if (atEnd_) {
    std::memset(begin + left, 0, 2 * kAhead);
    limit_ = end_ + kAhead;
  }
  return begin + kept;
}

Inflater::Inflater(DecoderInput& input, std::string name)
    : input_(input),
      name_(std::move(name)),
      window_(kWindow + kOutputBytes + kOutputSlack),
      out_(window_.data() + kWindow),
      oldest_(out_) {}

void Inflater::fail(const char* what) const {
  // The zeros behind the end make no sense, which is not what is wrong.
  if (isPastEnd()) what = "it ends too early";
  throw Error::make(Kind::corrupt, "{}: damaged compressed data: {}", name_, what);
}

void Inflater::failAt(const BitReader& reader, const char* what) {
  reader_ = reader;
  fail(what);
}

void Inflater::start(const std::uint8_t* at) {
  const bool isShort = static_cast<size_t>(input_.end() - at) < DecoderInput::kAhead;
  reader_ = {isShort ? input_.refill(at) : at, 0, 0};
  block_ = Block::none;
  isLast_ = false;
  out_ = window_.data() + kWindow;
  oldest_ = out_;
}

// At least 56 bits afterwards. What is loaded above `count` is loaded again next time, to the same
// place.
inline void Inflater::BitReader::fill() {
  std::uint64_t word = 0;
  std::memcpy(&word, at, sizeof(word));
  bits |= word << count;
  at += (63 - count) >> 3;
  count |= 56;
}

// kAhead bytes can be read afterwards.
void Inflater::loadInput() {
  if (reader_.at <= input_.limit()) return;
  checkEnd();
  reader_.at = input_.refill(reader_.at);
}

std::uint32_t Inflater::takeBits(unsigned count) {
  if (reader_.count < count) {
    loadInput();
    reader_.fill();
  }
  const auto value = static_cast<std::uint32_t>(lowBits(reader_.bits, count));
  reader_.drop(count);
  return value;
}

// Whole bytes in the bit buffer go back; the rest of the current byte is lost.
void Inflater::alignToByte() {
  reader_ = {reader_.unused(), 0, 0};
}

// The zeros behind the end may be looked at and not used.
bool Inflater::isPastEnd() const {
  return input_.isAtEnd() && reader_.unused() > input_.end();
}

void Inflater::checkEnd() const {
  if (isPastEnd()) fail("");
}

std::span<const std::byte> Inflater::next() {
  if (const auto have = static_cast<size_t>(out_ - window_.data()); have > kWindow) {
    const auto history = std::min(static_cast<size_t>(out_ - oldest_), kWindow);
    std::memmove(window_.data() + kWindow - history, out_ - history, history);
    out_ = window_.data() + kWindow;
    oldest_ = out_ - history;
  }
  const std::uint8_t* const begin = out_;
  const std::uint8_t* const end = begin + kOutputBytes;
  while (out_ < end) {
    if (block_ == Block::none) {
      if (isLast_) break;
      beginBlock();
    }
    if (block_ == Block::stored) {
      copyStored();
    } else {
      decodeCoded();
    }
    if (block_ == Block::none && isLast_) {
      alignToByte();
      checkEnd();
    }
  }
  return std::as_bytes(std::span{begin, static_cast<size_t>(out_ - begin)});
}

void Inflater::beginBlock() {
  isLast_ = takeBits(1) == 1;
  switch (takeBits(2)) {
    case 0: return beginStored();
    case 1:
      useFixedCodes();
      block_ = Block::coded;
      return;
    case 2:
      readCodes();
      block_ = Block::coded;
      return;
    default: fail("a block of an unknown type");
  }
}

void Inflater::beginStored() {
  alignToByte();
  const std::uint32_t length = takeBits(16);
  const std::uint32_t check = takeBits(16);
  alignToByte();
  if (length != (check ^ 0xffff)) fail("a stored block with two lengths");
  storedLeft_ = length;
  block_ = Block::stored;
}

void Inflater::copyStored() {
  const std::uint8_t* const end = window_.data() + kWindow + kOutputBytes;
  while (storedLeft_ > 0 && out_ < end) {
    if (reader_.at >= input_.end()) {
      if (input_.isAtEnd()) fail("it ends too early");
      reader_.at = input_.refill(reader_.at);
      continue;
    }
    const size_t count =
        std::min({static_cast<size_t>(storedLeft_), static_cast<size_t>(input_.end() - reader_.at),
                  static_cast<size_t>(end - out_)});
    std::memcpy(out_, reader_.at, count);
    reader_.at += count;
    out_ += count;
    storedLeft_ -= static_cast<std::uint32_t>(count);
  }
  if (storedLeft_ == 0) block_ = Block::none;
}

void Inflater::useFixedCodes() {
  if (hasFixedCodes_) return;
  // RFC 1951, 3.2.6.
  constexpr unsigned kLiterals = 288, kDistanceSymbols = 32;
  for (unsigned symbol = 0; symbol < kLiterals; ++symbol) {
    lengths_[symbol] = static_cast<std::uint8_t>(symbol < 144   ? 8
                                                 : symbol < 256 ? 9
                                                 : symbol < 280 ? 7
                                                                : 8);
  }
  std::fill_n(lengths_.begin() + kLiterals, kDistanceSymbols, std::uint8_t{5});
  buildCodes(kLiterals, kDistanceSymbols);
  hasFixedCodes_ = true;
}

void Inflater::buildCodes(unsigned literals, unsigned distances) {
  const std::span<const std::uint8_t> lengths{lengths_};
  inflate::TableBuilder forLiterals{literals_, kLiteralRoot, literalSymbol};
  if (const char* problem = forLiterals.build(lengths.first(literals), true)) fail(problem);
  inflate::TableBuilder forDistances{distances_, kDistanceRoot, distanceSymbol};
  if (const char* problem = forDistances.build(lengths.subspan(literals, distances), true))
    fail(problem);
}

// RFC 1951, 3.2.7: the lengths of the codes of both alphabets, coded themselves.
void Inflater::readCodes() {
  constexpr std::uint8_t kOrder[] = {16, 17, 18, 0, 8,  7, 9,  6, 10, 5,
                                     11, 4,  12, 3, 13, 2, 14, 1, 15};
  hasFixedCodes_ = false;
  const unsigned literals = takeBits(5) + 257;
  const unsigned distances = takeBits(5) + 1;
  const unsigned precodes = takeBits(4) + 4;
  if (literals > kEndOfBlock + 1 + kLengthCodes || distances > kDistanceCodes)
    fail("too many length or distance symbols");
  std::array<std::uint8_t, std::size(kOrder)> precodeLengths{};
  for (unsigned i = 0; i < precodes; ++i)
    precodeLengths[kOrder[i]] = static_cast<std::uint8_t>(takeBits(3));
  std::array<Entry, size_t{1} << kPrecodeRoot> table{};
  inflate::TableBuilder precode{table, kPrecodeRoot, precodeSymbol};
  if (const char* problem = precode.build(precodeLengths, false)) fail(problem);

  readLengths(table, literals + distances);
  if (lengths_[kEndOfBlock] == 0) fail("a block without an end");
  buildCodes(literals, distances);
}

void Inflater::readLengths(std::span<const Entry> precode, unsigned total) {
  for (unsigned at = 0; at < total;) {
    loadInput();
    reader_.fill();
    const Entry entry = precode[lowBits(reader_.bits, kPrecodeRoot)];
    reader_.drop(entry & 0xff);
    const unsigned symbol = entry >> 16;
    if (symbol < 16) {
      lengths_[at++] = static_cast<std::uint8_t>(symbol);
      continue;
    }
    if (symbol == 16 && at == 0) fail("a repeated length without a first one");
    const std::uint8_t repeated = symbol == 16 ? lengths_[at - 1] : std::uint8_t{0};
    const unsigned times = symbol == 16   ? 3 + takeBits(2)
                           : symbol == 17 ? 3 + takeBits(3)
                                          : 11 + takeBits(7);
    if (times > total - at) fail("too many repeated lengths");
    std::fill_n(lengths_.begin() + at, times, repeated);
    at += times;
  }
}

// Until the block ends or the output is full.
void Inflater::decodeCoded() {
  const std::uint8_t* const end = window_.data() + kWindow + kOutputBytes;
  while (out_ < end) {
    loadInput();
    if (!decodeRun(end)) continue;
    checkEnd();
    block_ = Block::none;
    return;
  }
}

// Writes it and looks up what follows.
[[gnu::always_inline]] inline Inflater::Entry Inflater::takeLiteral(Entry entry, BitReader& reader,
                                                                    std::uint8_t*& out) const {
  reader.drop(entry & 0xff);
  *out++ = static_cast<std::uint8_t>(entry >> 16);
  return literals_[reader.bits & ((1U << kLiteralRoot) - 1)];
}

// A code of more bits than the root of the table, or none at all.
[[gnu::always_inline]] inline Inflater::Entry Inflater::longLiteral(Entry entry,
                                                                    BitReader& reader) const {
  if ((entry & kIsSubtable) == 0) return entry;
  reader.drop(kLiteralRoot);
  return literals_[(entry >> 16) + lowBits(reader.bits, (entry >> 8) & 0xf)];
}

[[gnu::always_inline]] inline Inflater::Entry Inflater::distanceOf(BitReader& reader) {
  Entry entry = distances_[lowBits(reader.bits, kDistanceRoot)];
  if ((entry & kIsSpecial) == 0) return entry;
  if ((entry & kIsSubtable) != 0) {
    reader.drop(kDistanceRoot);
    entry = distances_[(entry >> 16) + lowBits(reader.bits, (entry >> 8) & 0xf)];
  }
  if ((entry & kIsSpecial) != 0) failAt(reader, "an unknown distance code");
  return entry;
}

// The hot loop: as long as input and output have room for a whole round. True: the block has ended.
// A round uses at most 11 + 11 + 15 + 5 bits before the bits are loaded again, and 15 + 13 then.
// The next symbol is looked up before the match is copied, so that the processor does both at once.
bool Inflater::decodeRun(const std::uint8_t* outEnd) {
  constexpr std::uint64_t kMask = (1U << kLiteralRoot) - 1;
  // Copies: what is written to the window could be anything to the compiler, members too.
  const Entry* const literals = literals_.data();
  const std::uint8_t* const oldest = oldest_;
  const std::uint8_t* const inEnd = input_.limit();
  BitReader reader = reader_;
  std::uint8_t* out = out_;
  bool hasEnded = false;
  reader.fill();
  Entry entry = literals[reader.bits & kMask];
  while (reader.at <= inEnd && out < outEnd) {
    if ((entry & kIsLiteral) != 0) {
      entry = takeLiteral(entry, reader, out);
      if ((entry & kIsLiteral) != 0) entry = takeLiteral(entry, reader, out);
    }
    if ((entry & kIsSpecial) != 0) entry = longLiteral(entry, reader);
    const std::uint64_t saved = reader.bits;
    reader.drop(entry & 0xff);
    if ((entry & kIsLiteral) != 0) {
      *out++ = static_cast<std::uint8_t>(entry >> 16);
      reader.fill();
      entry = literals[reader.bits & kMask];
      continue;
    }
    if ((entry & kIsSpecial) != 0) {
      if ((entry & kIsEnd) == 0) failAt(reader, "an unknown length code");
      hasEnded = true;
      break;
    }
    const std::uint32_t length = valueOf(entry, saved);
    reader.fill();
    const Entry distanceEntry = distanceOf(reader);
    const std::uint32_t distance = valueOf(distanceEntry, reader.bits);
    reader.drop(distanceEntry & 0xff);
    if (distance > static_cast<size_t>(out - oldest)) failAt(reader, "a distance too far back");
    reader.fill();
    entry = literals[reader.bits & kMask];
    repeat(out, distance, length);
    out += length;
  }
  reader_ = reader;
  out_ = out;
  return hasEnded;
}

}  // namespace img
