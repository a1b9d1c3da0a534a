// Text measured as a terminal shows it: wide East Asian characters and emoji take two columns,
// combining marks none (Unicode UAX #11), whatever the locale is.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace img::cli {

size_t displayWidth(std::string_view utf8);
// At most `columns` wide; `mark` ("…", "...") stands for what is cut off.
std::string fitColumns(std::string_view utf8, size_t columns, std::string_view mark);
// Blanks up to `columns`.
std::string padColumns(std::string text, size_t columns);
// Whether the locale's charset is UTF-8: LC_ALL, LC_CTYPE, LANG, the first that is set (locale(7)).
bool isUtf8Locale();
// Every character outside ASCII as "?".
std::string asciiOnly(std::string_view utf8);

}  // namespace img::cli
