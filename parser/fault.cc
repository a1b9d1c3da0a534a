#include "parser/fault.h"

#include "base/text.h"
#include "parser/chars.h"

namespace img::parser {
namespace {

std::string_view physicalLine(std::string_view text, int number) {
  for (int line = 1; line < number; ++line) {
    const size_t end = text.find('\n');
    if (end == std::string_view::npos) return {};
    text.remove_prefix(end + 1);
  }
  return text.substr(0, text.find('\n'));
}

int countChars(std::string_view text) {
  int count = 0;
  for (size_t pos = 0; pos < text.size(); ++count) nextChar(text, pos);
  return count;
}

}  // namespace

Position positionOf(const SourceText& source, LineRange lines, std::string_view token) {
  Position position;
  position.file = std::string{source.name};
  position.line = lines.first;
  position.endLine = lines.last;
  position.text = std::string{source.text};
  const std::string_view line = physicalLine(source.text, lines.first);
  const size_t at = token.empty() ? std::string_view::npos : line.find(token);
  if (at != std::string_view::npos) {
    position.column = countChars(line.substr(0, at)) + 1;
    position.width = countChars(token);
  }
  return position;
}

Error parseFault(const SourceText& source, LineRange lines, std::string message,
                 std::string_view token) {
  Error error{Kind::failed, std::move(message)};
  error.code("parse").at(positionOf(source, lines, token));
  return error;
}

Error badValue(std::string message) {
  Error error{Kind::failed, std::move(message)};
  error.code("parse");
  return error;
}

std::string didYouMean(std::string_view suggestion) {
  return "did you mean " + text::quote(suggestion) + "?";
}

}  // namespace img::parser
