#include "cli/values.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>
#include <ctime>
#include <limits>

#include "base/environment.h"
#include "base/error.h"
#include "base/text.h"
#include "parser/value_checks.h"

namespace img::cli {
namespace {

[[noreturn]] void refuse(std::string_view text, std::string_view what, std::string_view expected) {
  throw Error::make(Kind::usage, "invalid value {} for {}: {}", text::quote(text), what, expected);
}

bool isDigit(char c) {
  return c >= '0' && c <= '9';
}

// Digits with an optional fraction at the front of `text`, which loses them. No sign, no exponent,
// and no locale, which strtod(3) would all accept.
std::optional<long double> takeNumber(std::string_view& text) {
  long double value = 0;
  size_t at = 0;
  while (at < text.size() && isDigit(text[at])) value = value * 10 + (text[at++] - '0');
  size_t digits = at;
  if (at < text.size() && text[at] == '.') {
    ++at;
    for (long double scale = 0.1L; at < text.size() && isDigit(text[at]); scale /= 10, ++digits) {
      value += scale * (text[at++] - '0');
    }
  }
  if (digits == 0) return std::nullopt;
  text.remove_prefix(at);
  return value;
}

std::optional<long long> toInteger(long double value) {
  // 2^63 as a long double is exact; anything from there on does not fit.
  if (!(value < 9223372036854775808.0L)) return std::nullopt;
  return static_cast<long long>(value);
}

struct Unit {
  std::string_view name;
  long double factor;
};

// Longer names stand first where one begins another.
constexpr std::array<Unit, 8> kTimeUnits{{{"ns", 1},
                                          {"us", 1e3L},
                                          {"µs", 1e3L},  // U+00B5
                                          {"μs", 1e3L},  // U+03BC
                                          {"ms", 1e6L},
                                          {"s", 1e9L},
                                          {"m", 60e9L},
                                          {"h", 3600e9L}}};

std::optional<long double> takeTimeUnit(std::string_view& text) {
  for (const Unit& unit : kTimeUnits) {
    if (!text.starts_with(unit.name)) continue;
    text.remove_prefix(unit.name.size());
    return unit.factor;
  }
  return std::nullopt;
}

std::optional<long long> tryDuration(std::string_view text) {
  constexpr long double kSecond = 1e9L;
  if (const auto seconds = text::parseUnsigned(text)) {
    return toInteger(static_cast<long double>(*seconds) * kSecond);
  }
  if (text.empty()) return std::nullopt;
  long double total = 0;
  while (!text.empty()) {
    const auto number = takeNumber(text);
    if (!number) return std::nullopt;
    const auto factor = takeTimeUnit(text);
    if (!factor) return std::nullopt;
    total += *number * *factor;
  }
  return toInteger(total + 0.5L);
}

// strptime(3) with the whole text used.
std::optional<long long> tryLocalTime(const std::string& text, const char* format) {
  std::tm parts{};
  parts.tm_isdst = -1;
  const char* end = strptime(text.c_str(), format, &parts);
  if (end == nullptr || *end != '\0') return std::nullopt;
  const std::time_t seconds = std::mktime(&parts);
  if (seconds == -1) return std::nullopt;
  return seconds;
}

}  // namespace

bool parseBool(std::string_view text, std::string_view what) {
  if (const auto value = parser::parseBool(text)) return *value;
  refuse(text, what, "expected true or false");
}

long long parseSize(std::string_view text, std::string_view what) {
  constexpr std::string_view kExpected = "expected a size such as 512m or 1.5g";
  std::string_view rest = text;
  const auto number = takeNumber(rest);
  if (!number) refuse(text, what, kExpected);
  const std::string suffix = text::lower(rest);
  long double factor = 1;
  if (!suffix.empty() && suffix != "b") {
    const size_t power = std::string_view{"kmgt"}.find(suffix[0]);
    const std::string_view tail = std::string_view{suffix}.substr(1);
    if (power == std::string_view::npos || !(tail.empty() || tail == "b" || tail == "ib")) {
      refuse(text, what, kExpected);
    }
    factor = std::pow(1024.0L, static_cast<long double>(power + 1));
  }
  const auto bytes = toInteger(*number * factor);
  if (!bytes) refuse(text, what, "it is too large");
  return *bytes;
}

long long parseDuration(std::string_view text, std::string_view what) {
  const auto nanoseconds = tryDuration(text);
  if (!nanoseconds) refuse(text, what, "expected a duration such as 1m30s or 10");
  return *nanoseconds;
}

long long parseTime(std::string_view text, long long now, std::string_view what) {
  constexpr long long kNanosecondsPerSecond = 1'000'000'000;
  std::string_view rest = text;
  if (const auto seconds = takeNumber(rest); seconds && rest.empty()) {
    if (const auto whole = toInteger(*seconds)) return *whole;
  }
  if (const auto ago = tryDuration(text)) return now - *ago / kNanosecondsPerSecond;
  if (const auto seconds = text::parseTimeSeconds(text)) return *seconds;
  const std::string copy{text};
  for (const char* format : {"%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M", "%Y-%m-%d"}) {
    if (const auto seconds = tryLocalTime(copy, format)) return *seconds;
  }
  refuse(text, what, "expected a time such as 2026-01-31T12:00:00Z or 10m");
}

namespace {

// From the opening quote at `at` to behind the closing one (RFC 4180, 2.7: a doubled quote is one).
std::string readQuotedField(std::string_view text, size_t& at, std::string_view what) {
  std::string field;
  for (++at; at < text.size(); ++at) {
    if (text[at] != '"') {
      field += text[at];
    } else if (at + 1 < text.size() && text[at + 1] == '"') {
      field += text[at++];
    } else {
      if (++at < text.size() && text[at] != ',') refuse(text, what, "text after a quoted field");
      return field;
    }
  }
  refuse(text, what, "a quoted field does not end");
}

}  // namespace

std::optional<std::int64_t> sourceDateEpoch() {
  constexpr unsigned long long kYear9999 = 253402300799;  // its last second
  const std::string text = variableOrEmpty("SOURCE_DATE_EPOCH");
  if (text.empty()) return std::nullopt;
  const auto seconds = text::parseUnsigned(text);
  if (!seconds || *seconds > kYear9999) {
    throw Error::make(Kind::usage, "SOURCE_DATE_EPOCH: {} is not a number of seconds",
                      text::quote(text));
  }
  return static_cast<std::int64_t>(*seconds);
}

std::vector<std::string> parseCsv(std::string_view text, std::string_view what) {
  std::vector<std::string> fields;
  for (size_t at = 0;;) {
    std::string field;
    if (at < text.size() && text[at] == '"') {
      field = readQuotedField(text, at, what);
    } else {
      const size_t end = std::min(text.find(',', at), text.size());
      field = text.substr(at, end - at);
      if (field.find('"') != std::string::npos) refuse(text, what, "a quote inside a bare field");
      at = end;
    }
    fields.push_back(std::move(field));
    if (at >= text.size()) return fields;
    ++at;  // the comma
  }
}

std::vector<std::pair<std::string, std::string>> parseCsvFields(std::string_view text,
                                                                std::string_view what) {
  std::vector<std::pair<std::string, std::string>> fields;
  for (const std::string& field : parseCsv(text, what)) {
    auto [key, value] = splitAssignment(field);
    fields.emplace_back(text::lower(key), std::move(value));
  }
  return fields;
}

std::pair<std::string, std::string> splitAssignment(std::string_view text) {
  const size_t at = text.find('=');
  if (at == std::string_view::npos) return {std::string{text}, {}};
  return {std::string{text.substr(0, at)}, std::string{text.substr(at + 1)}};
}

store::Platform parsePlatform(const std::string& text) {
  const std::vector<std::string> parts = text::split(text, '/');
  if (parts.size() < 2 || parts.size() > 3 ||
      std::any_of(parts.begin(), parts.end(), [](const auto& part) { return part.empty(); })) {
    throw Error::make(Kind::usage, "invalid value {} for --platform: expected OS/ARCH[/VARIANT]",
                      text::quote(text));
  }
  store::Platform platform;
  platform.os = parts[0];
  platform.architecture = parts[1];
  if (parts.size() == 3) platform.variant = parts[2];
  return platform;
}

}  // namespace img::cli
