#include "parser/chars.h"

#include <array>

namespace img::parser {
namespace {

struct Lead {
  int length;         // of the whole sequence, 0: not a lead byte
  unsigned char low;  // bounds of the second byte (RFC 3629, section 4)
  unsigned char high;
};

Lead leadOf(unsigned char byte) {
  if (byte >= 0xC2 && byte <= 0xDF) return {2, 0x80, 0xBF};
  if (byte == 0xE0) return {3, 0xA0, 0xBF};
  if (byte == 0xED) return {3, 0x80, 0x9F};
  if (byte >= 0xE1 && byte <= 0xEF) return {3, 0x80, 0xBF};
  if (byte == 0xF0) return {4, 0x90, 0xBF};
  if (byte >= 0xF1 && byte <= 0xF3) return {4, 0x80, 0xBF};
  if (byte == 0xF4) return {4, 0x80, 0x8F};
  return {0, 0, 0};
}

unsigned char byteAt(std::string_view text, size_t pos) {
  return static_cast<unsigned char>(text[pos]);
}

bool isSpace(char32_t c) {
  switch (c) {
    case U'\t':
    case U'\n':
    case U'\v':
    case U'\f':
    case U'\r':
    case U' ':
    case 0x85:
    case 0xA0:
    case 0x1680:
    case 0x2028:
    case 0x2029:
    case 0x202F:
    case 0x205F:
    case 0x3000: return true;
    default: return c >= 0x2000 && c <= 0x200A;
  }
}

}  // namespace

char32_t nextChar(std::string_view text, size_t& pos) {
  const unsigned char first = byteAt(text, pos);
  if (first < 0x80) {
    ++pos;
    return first;
  }
  const Lead lead = leadOf(first);
  const auto length = static_cast<size_t>(lead.length);
  bool valid = length != 0 && text.size() - pos >= length && byteAt(text, pos + 1) >= lead.low &&
               byteAt(text, pos + 1) <= lead.high;
  char32_t value = lead.length == 2   ? first & 0x1Fu
                   : lead.length == 3 ? first & 0x0Fu
                                      : first & 0x07u;
  for (size_t i = 1; valid && i < length; ++i) {
    const unsigned char byte = byteAt(text, pos + i);
    valid = (byte & 0xC0) == 0x80;
    value = (value << 6) | (byte & 0x3Fu);
  }
  if (!valid) {
    ++pos;
    return kRawByte + first;
  }
  pos += length;
  return value;
}

void appendChar(std::string& out, char32_t c) {
  const auto put = [&out](char32_t byte) { out.push_back(static_cast<char>(byte)); };
  if (c >= kRawByte) return put(c - kRawByte);
  if (c < 0x80) return put(c);
  if (c < 0x800) {
    put(0xC0 | (c >> 6));
  } else if (c < 0x10000) {
    put(0xE0 | (c >> 12));
    put(0x80 | ((c >> 6) & 0x3F));
  } else {
    put(0xF0 | (c >> 18));
    put(0x80 | ((c >> 12) & 0x3F));
    put(0x80 | ((c >> 6) & 0x3F));
  }
  put(0x80 | (c & 0x3F));
}

size_t spaceLength(std::string_view text, size_t pos) {
  const unsigned char first = byteAt(text, pos);
  if (first < 0x80) return isSpace(first) ? 1 : 0;
  size_t end = pos;
  return isSpace(nextChar(text, end)) ? end - pos : 0;
}

std::string_view trimLeftSpace(std::string_view text) {
  while (!text.empty()) {
    const size_t length = spaceLength(text, 0);
    if (length == 0) break;
    text.remove_prefix(length);
  }
  return text;
}

std::string_view trimSpace(std::string_view text) {
  text = trimLeftSpace(text);
  while (!text.empty()) {
    // All Unicode white space is at most three bytes long.
    size_t start = text.size() - 1;
    while (start > 0 && text.size() - start < 3 && (byteAt(text, start) & 0xC0) == 0x80) --start;
    if (spaceLength(text, start) != text.size() - start) break;
    text.remove_suffix(text.size() - start);
  }
  return text;
}

std::vector<std::string> splitBlanks(std::string_view text) {
  std::vector<std::string> words;
  size_t pos = 0;
  while (pos < text.size()) {
    while (pos < text.size() && isBlank(text[pos])) ++pos;
    const size_t start = pos;
    while (pos < text.size() && !isBlank(text[pos])) ++pos;
    if (pos > start) words.emplace_back(text.substr(start, pos - start));
  }
  return words;
}

std::string removeLeadingTabs(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  bool atStart = true;
  for (const char c : text) {
    if (atStart && c == '\t') continue;
    atStart = c == '\n';
    out.push_back(c);
  }
  return out;
}

}  // namespace img::parser
