// The exec form: is this text one JSON array of strings (dockerfile.md 1.8)? A reader of its own,
// because "not JSON" is an ordinary answer here (shell form) and every RUN line asks the question.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace img::parser {

struct JsonArray {
  std::vector<std::string> strings;
  // The first element that is not a string: its number (1-based) and "a number", "null", "an
  // array", ...
  int badElement = 0;
  std::string_view badType;
};

// nullopt: the text as a whole is not a valid JSON array.
std::optional<JsonArray> parseJsonArray(std::string_view text);

}  // namespace img::parser
