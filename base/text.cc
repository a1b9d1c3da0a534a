#include "base/text.h"

#include <fmt/core.h>

#include <algorithm>
#include <cctype>
#include <chrono>
#include <ctime>
#include <limits>

namespace img::text {
namespace {

// One UTF-8 sequence at text[at]: its scalar value and length; length 0 when malformed (RFC 3629).
struct Scalar {
  char32_t value = 0;
  size_t length = 0;
};

Scalar decodeUtf8(std::string_view text, size_t at) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char first = byte(at);
  if (first < 0x80) return {first, 1};
  const size_t length = first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : first >= 0xC2 ? 2 : 0;
  if (length == 0 || first > 0xF4 || at + length > text.size()) return {};
  char32_t value = first & (0xFFU >> (length + 1));
  for (size_t i = 1; i < length; ++i) {
    if ((byte(at + i) & 0xC0) != 0x80) return {};
    value = (value << 6) | (byte(at + i) & 0x3FU);
  }
  const char32_t least = length == 2 ? 0x80 : length == 3 ? 0x800 : 0x10000;
  if (value < least || value > 0x10FFFF || (value >= 0xD800 && value <= 0xDFFF)) return {};
  return {value, length};
}

// C0, C1, DEL and the bidirectional controls could rewrite what a terminal shows.
bool isUnsafe(char32_t value) {
  return value < 0x20 || (value >= 0x7F && value <= 0x9F) || (value >= 0x202A && value <= 0x202E) ||
         (value >= 0x2066 && value <= 0x2069);
}

char toLowerAscii(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
}
char toUpperAscii(char c) {
  return c >= 'a' && c <= 'z' ? static_cast<char>(c - 32) : c;
}

}  // namespace

std::string escape(std::string_view untrusted, size_t maxLength) {
  std::string out;
  for (size_t at = 0, count = 0; at < untrusted.size(); ++count) {
    if (count == maxLength) return out + "...";
    const Scalar scalar = decodeUtf8(untrusted, at);
    if (scalar.length == 0) {
      out += fmt::format("\\x{:02x}", static_cast<unsigned char>(untrusted[at]));
      ++at;
      continue;
    }
    if (!isUnsafe(scalar.value)) {
      out += untrusted.substr(at, scalar.length);
    } else if (scalar.value < 0x80) {
      out += fmt::format("\\x{:02x}", static_cast<unsigned>(scalar.value));
    } else {
      out += fmt::format("\\u{{{:x}}}", static_cast<unsigned>(scalar.value));
    }
    at += scalar.length;
  }
  return out;
}

std::string quote(std::string_view untrusted) {
  return '"' + escape(untrusted) + '"';
}

std::string lower(std::string_view ascii) {
  std::string out{ascii};
  std::transform(out.begin(), out.end(), out.begin(), toLowerAscii);
  return out;
}

std::string upper(std::string_view ascii) {
  std::string out{ascii};
  std::transform(out.begin(), out.end(), out.begin(), toUpperAscii);
  return out;
}

std::string_view trim(std::string_view text) {
  constexpr std::string_view kBlanks = " \t\r\n\v\f";
  const size_t first = text.find_first_not_of(kBlanks);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(kBlanks) - first + 1);
}

std::vector<std::string> split(std::string_view text, char separator) {
  std::vector<std::string> parts;
  for (;;) {
    const size_t at = text.find(separator);
    parts.emplace_back(text.substr(0, at));
    if (at == std::string_view::npos) return parts;
    text.remove_prefix(at + 1);
  }
}

std::string join(const std::vector<std::string>& parts, std::string_view separator) {
  std::string out;
  for (size_t i = 0; i < parts.size(); ++i) {
    if (i != 0) out += separator;
    out += parts[i];
  }
  return out;
}

bool isValidUtf8(std::string_view text) {
  for (size_t at = 0; at < text.size();) {
    const size_t length = decodeUtf8(text, at).length;
    if (length == 0) return false;
    at += length;
  }
  return true;
}

size_t editDistance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t replaced = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, replaced});
    }
  }
  return row[b.size()];
}

std::optional<std::string> suggest(std::string_view word,
                                   const std::vector<std::string>& candidates) {
  constexpr size_t kMaxDistance = 2;
  std::optional<std::string> best;
  size_t bestDistance = kMaxDistance + 1;
  for (const std::string& candidate : candidates) {
    const size_t distance = editDistance(word, candidate);
    if (distance == 0) return std::nullopt;
    if (distance < bestDistance) {
      bestDistance = distance;
      best = candidate;
    }
  }
  return best;
}

std::optional<unsigned long long> parseUnsigned(std::string_view digits) {
  if (digits.empty()) return std::nullopt;
  unsigned long long value = 0;
  for (const char c : digits) {
    if (c < '0' || c > '9') return std::nullopt;
    const auto digit = static_cast<unsigned>(c - '0');
    if (value > (std::numeric_limits<unsigned long long>::max() - digit) / 10) return std::nullopt;
    value = value * 10 + digit;
  }
  return value;
}

std::string base64(std::string_view bytes) {
  static constexpr std::string_view kDigits =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  for (size_t i = 0; i < bytes.size(); i += 3) {
    const auto byte = [&](size_t at) {
      return at < bytes.size() ? static_cast<unsigned char>(bytes[at]) : 0U;
    };
    const unsigned group = byte(i) << 16 | byte(i + 1) << 8 | byte(i + 2);
    for (unsigned digit = 0; digit < 4; ++digit) {
      const bool isPadding = i + digit > bytes.size();
      out += isPadding ? '=' : kDigits[group >> (18 - 6 * digit) & 63];
    }
  }
  return out;
}

std::string formatTime(long long seconds, long nanoseconds) {
  // Not gmtime_r(3), which reads the file of the local time zone.
  namespace chrono = std::chrono;
  const chrono::sys_seconds time{chrono::seconds{seconds}};
  const auto midnight = chrono::floor<chrono::days>(time);
  const chrono::year_month_day day{midnight};
  const chrono::hh_mm_ss clock{time - midnight};
  std::string fraction;
  if (nanoseconds != 0) {
    fraction = fmt::format(".{:09}", nanoseconds);
    fraction.erase(fraction.find_last_not_of('0') + 1);
  }
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}{}Z", int{day.year()},
                     unsigned{day.month()}, unsigned{day.day()}, clock.hours().count(),
                     clock.minutes().count(), clock.seconds().count(), fraction);
}

std::optional<long long> parseTimeSeconds(std::string_view rfc3339) {
  tm parts{};
  const std::string copy{rfc3339};
  const char* rest = ::strptime(copy.c_str(), "%Y-%m-%dT%H:%M:%S", &parts);
  if (rest == nullptr) return std::nullopt;
  std::string_view zone{rest};
  if (zone.starts_with('.')) {
    const size_t end = std::min(zone.find_first_not_of("0123456789", 1), zone.size());
    if (end == 1) return std::nullopt;
    zone.remove_prefix(end);
  }
  const long long utc = ::timegm(&parts);
  if (zone == "Z") return utc;
  // RFC 3339 5.6, time-numoffset: exactly +hh:mm or -hh:mm.
  if (zone.size() != 6 || (zone[0] != '+' && zone[0] != '-') || zone[3] != ':') return std::nullopt;
  const auto hours = parseUnsigned(zone.substr(1, 2));
  const auto minutes = parseUnsigned(zone.substr(4));
  if (!hours || !minutes || *hours > 23 || *minutes > 59) return std::nullopt;
  const auto offset = static_cast<long long>(*hours * 3600 + *minutes * 60);
  return zone[0] == '+' ? utc - offset : utc + offset;
}

}  // namespace img::text
