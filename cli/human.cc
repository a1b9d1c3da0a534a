#include "cli/human.h"

#include <fmt/core.h>

#include <array>
#include <cstdio>
#include <ctime>
#include <optional>

#include "base/text.h"
#include "cli/report.h"

namespace img::cli {

std::string formatAge(long long seconds) {
  constexpr long long kMinute = 60;
  constexpr long long kHour = 60 * kMinute;
  if (seconds < 1) return "Less than a second";
  if (seconds == 1) return "1 second";
  if (seconds < kMinute) return fmt::format("{} seconds", seconds);
  const long long minutes = seconds / kMinute;
  if (minutes == 1) return "About a minute";
  if (minutes < 60) return fmt::format("{} minutes", minutes);
  const long long hours = (seconds + kHour / 2) / kHour;  // rounded to nearest
  if (hours == 1) return "About an hour";
  if (hours < 48) return fmt::format("{} hours", hours);
  const long long days = hours / 24;
  if (days < 14) return fmt::format("{} days", days);
  if (days < 60) return fmt::format("{} weeks", days / 7);
  if (days < 730) return fmt::format("{} months", days / 30);
  return fmt::format("{} years", days / 365);
}

std::string formatCreated(std::string_view created, long long now) {
  const auto seconds = text::parseTimeSeconds(created);
  return seconds ? formatAge(now - *seconds) + " ago" : "N/A";
}

std::string formatSize(std::uint64_t bytes, int digits) {
  constexpr std::array<std::string_view, 6> kUnits{"B", "kB", "MB", "GB", "TB", "PB"};
  auto value = static_cast<double>(bytes);
  for (size_t unit = 0;; ++unit, value /= 1000) {
    const bool isLast = unit + 1 == kUnits.size();
    if (value >= 1000 && !isLast) continue;
    // %g drops trailing zeros; what rounds to 1000 (or to an exponent) belongs to the next unit.
    std::array<char, 32> text{};
    (void)std::snprintf(text.data(), text.size(), "%.*g", digits, value);
    const std::string_view number = text.data();
    if (number == "1000" || number.find('e') != std::string_view::npos) {
      if (!isLast) continue;
      return fmt::format("{:.0f}{}", value, kUnits[unit]);
    }
    return fmt::format("{}{}", number, kUnits[unit]);
  }
}

std::string formatBinarySize(std::uint64_t bytes) {
  constexpr std::array<std::string_view, 6> kUnits{"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
  auto value = static_cast<double>(bytes);
  size_t unit = 0;
  for (; value >= 1024 && unit + 1 < kUnits.size(); ++unit) value /= 1024;
  std::array<char, 32> text{};
  (void)std::snprintf(text.data(), text.size(), "%.4g", value);
  return fmt::format("{}{}", text.data(), kUnits[unit]);
}

std::string formatLocalTime(std::string_view created) {
  const auto seconds = text::parseTimeSeconds(created);
  if (!seconds) return {};
  const std::time_t time = *seconds;
  std::tm parts{};
  if (localtime_r(&time, &parts) == nullptr) return {};
  std::array<char, 64> text{};
  const size_t length = std::strftime(text.data(), text.size(), "%Y-%m-%d %H:%M:%S %z %Z", &parts);
  return {text.data(), length};
}

std::string ellipsis(std::string_view text, size_t columns) {
  if (columnsOf(text) <= columns) return std::string{text};
  size_t end = 0;
  for (size_t count = 0; count + 1 < columns; ++count) {
    do {
      ++end;
    } while ((static_cast<unsigned char>(text[end]) & 0xC0) == 0x80);
  }
  return std::string{text.substr(0, end)} + "…";
}

long long nowSeconds() {
  return static_cast<long long>(std::time(nullptr));
}

}  // namespace img::cli
