// Small text helpers shared by all folders.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace img::text {

// For messages: untrusted text in double quotes, shortened to 200 characters, every byte outside
// printable text written as \xNN or \u{...} (security.md E2).
std::string quote(std::string_view untrusted);
// The same without the quotes.
std::string escape(std::string_view untrusted, size_t maxLength = 200);
std::string lower(std::string_view ascii);
std::string upper(std::string_view ascii);
std::string_view trim(std::string_view text);  // ASCII blanks
std::vector<std::string> split(std::string_view text, char separator);
std::string join(const std::vector<std::string>& parts, std::string_view separator);
bool isValidUtf8(std::string_view text);
// Levenshtein distance, and the nearest candidate at distance <= 2 (dockerfile.md 0.4).
size_t editDistance(std::string_view a, std::string_view b);
std::optional<std::string> suggest(std::string_view word,
                                   const std::vector<std::string>& candidates);
// Whole-string unsigned decimal; nullopt on anything else or overflow.
std::optional<unsigned long long> parseUnsigned(std::string_view digits);
// RFC 4648, with padding.
std::string base64(std::string_view bytes);
// 2026-08-21T10:11:12.123456789Z (RFC 3339, UTC; fraction without trailing zeros) and back.
std::string formatTime(long long seconds, long nanoseconds = 0);
std::optional<long long> parseTimeSeconds(std::string_view rfc3339);

}  // namespace img::text
