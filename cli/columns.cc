#include "cli/columns.h"

#include <algorithm>
#include <array>
#include <cstdint>

#include "base/environment.h"
#include "base/text.h"

namespace img::cli {
namespace {

struct Range {
  std::uint32_t first, last;
};

// EastAsianWidth.txt (Unicode 15), W and F. Joined generously in the symbol and emoji blocks: a
// column too many cuts a text early, one too few breaks the frame.
constexpr std::array<Range, 39> kWide{{
    {0x1100, 0x115F}, {0x231A, 0x231B}, {0x2329, 0x232A}, {0x23E9, 0x23EC},   {0x23F0, 0x23F0},
    {0x23F3, 0x23F3}, {0x25FD, 0x25FE}, {0x2614, 0x2615}, {0x2648, 0x2653},   {0x267F, 0x267F},
    {0x2693, 0x2693}, {0x26A1, 0x26A1}, {0x26AA, 0x26AB}, {0x26BD, 0x26BE},   {0x26C4, 0x26C5},
    {0x26CE, 0x26CE}, {0x26D4, 0x26D4}, {0x26EA, 0x26EA}, {0x26F2, 0x26F3},   {0x26F5, 0x26F5},
    {0x26FA, 0x26FA}, {0x26FD, 0x26FD}, {0x2705, 0x2705}, {0x270A, 0x270B},   {0x2728, 0x2728},
    {0x274C, 0x274C}, {0x274E, 0x274E}, {0x2753, 0x2757}, {0x2795, 0x2797},   {0x27B0, 0x27BF},
    {0x2B1B, 0x2B55}, {0x2E80, 0x303E}, {0x3041, 0xA4CF}, {0xA960, 0xA97C},   {0xAC00, 0xD7A3},
    {0xF900, 0xFAFF}, {0xFE10, 0xFE6B}, {0xFF01, 0xFFE6}, {0x1F300, 0x3FFFD},
}};
// Combining marks and zero-width characters that turn up in real output (DerivedGeneralCategory,
// Mn, Me, Cf).
constexpr std::array<Range, 14> kZero{{
    {0x0300, 0x036F},
    {0x0483, 0x0489},
    {0x0591, 0x05BD},
    {0x0610, 0x061A},
    {0x064B, 0x065F},
    {0x0E34, 0x0E3A},
    {0x0E47, 0x0E4E},
    {0x1AB0, 0x1AFF},
    {0x1DC0, 0x1DFF},
    {0x200B, 0x200F},
    {0x20D0, 0x20FF},
    {0x2060, 0x2064},
    {0xFE00, 0xFE0F},
    {0xFE20, 0xFE2F},
}};

template <size_t count>
bool isIn(const std::array<Range, count>& ranges, std::uint32_t code) {
  return std::any_of(ranges.begin(), ranges.end(),
                     [&](const Range& range) { return code >= range.first && code <= range.last; });
}

size_t lengthAt(std::string_view text, size_t at) {
  size_t length = 1;
  while (at + length < text.size() &&
         (static_cast<unsigned char>(text[at + length]) & 0xC0) == 0x80)
    ++length;
  return length;
}

std::uint32_t codeOf(std::string_view character) {
  const auto first = static_cast<unsigned char>(character.front());
  std::uint32_t code = first;
  if (character.size() > 1) code = first & (0x7FU >> character.size());
  for (const char c : character.substr(1))
    code = (code << 6) | (static_cast<unsigned char>(c) & 0x3FU);
  return code;
}

size_t widthOf(std::string_view character) {
  if (character.size() == 1) return 1;
  const std::uint32_t code = codeOf(character);
  if (isIn(kZero, code)) return 0;
  return isIn(kWide, code) ? 2 : 1;
}

}  // namespace

size_t displayWidth(std::string_view utf8) {
  size_t width = 0;
  for (size_t at = 0; at < utf8.size();) {
    const size_t length = lengthAt(utf8, at);
    width += widthOf(utf8.substr(at, length));
    at += length;
  }
  return width;
}

std::string fitColumns(std::string_view utf8, size_t columns, std::string_view mark) {
  if (displayWidth(utf8) <= columns) return std::string{utf8};
  const size_t markWidth = displayWidth(mark);
  if (columns < markWidth) return std::string(columns, '.');
  size_t width = 0;
  size_t end = 0;
  while (end < utf8.size()) {
    const size_t length = lengthAt(utf8, end);
    const size_t next = width + widthOf(utf8.substr(end, length));
    if (next > columns - markWidth) break;
    width = next;
    end += length;
  }
  return std::string{utf8.substr(0, end)} + std::string{mark};
}

std::string padColumns(std::string text, size_t columns) {
  const size_t width = displayWidth(text);
  if (width < columns) text.append(columns - width, ' ');
  return text;
}

bool isUtf8Locale() {
  for (const char* name : {"LC_ALL", "LC_CTYPE", "LANG"}) {
    const std::string locale = text::lower(variableOrEmpty(name));
    if (locale.empty()) continue;
    return locale.find("utf-8") != std::string::npos || locale.find("utf8") != std::string::npos;
  }
  return false;
}

std::string asciiOnly(std::string_view utf8) {
  std::string out;
  for (size_t at = 0; at < utf8.size(); at += lengthAt(utf8, at)) {
    out += static_cast<unsigned char>(utf8[at]) < 0x80 ? utf8[at] : '?';
  }
  return out;
}

}  // namespace img::cli
