// Characters as the Dockerfile language sees them: UTF-8 decoded one at a time, bytes that are not
// UTF-8 kept as themselves, and the two notions of white space (ASCII blanks, Unicode white space).
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace img::parser {

// Bytes outside valid UTF-8 decode to kRawByte + byte, so that they equal only themselves.
inline constexpr char32_t kRawByte = 0x110000;

// The character at `pos`, which moves past it. Requires pos < text.size().
char32_t nextChar(std::string_view text, size_t& pos);
void appendChar(std::string& out, char32_t c);

// Length in bytes of the Unicode white space at `pos`, or 0.
size_t spaceLength(std::string_view text, size_t pos);
std::string_view trimLeftSpace(std::string_view text);
std::string_view trimSpace(std::string_view text);

// space, tab, VT, FF, CR: what separates words where quotes mean nothing (1.5, 1.7).
constexpr bool isBlank(char c) {
  return c == ' ' || c == '\t' || c == '\v' || c == '\f' || c == '\r';
}
constexpr bool isDigit(char c) {
  return c >= '0' && c <= '9';
}
constexpr bool isNameStart(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

std::vector<std::string> splitBlanks(std::string_view text);
// Removes leading tabs of every line (<<-).
std::string removeLeadingTabs(std::string_view text);

}  // namespace img::parser
