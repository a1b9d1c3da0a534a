// Bytes to logical lines: byte order mark, parser directives, comments, continuations, and the raw
// lines of heredoc bodies (dockerfile.md 1.1-1.4, 1.9). Keeps views into the text it is given.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "parser/fault.h"
#include "parser/syntax.h"

namespace img::parser {

struct LogicalLine {
  std::string text;
  LineRange lines;
  std::vector<std::string> comments;
  bool emptyContinuation = false;
};

class LineReader {
 public:
  explicit LineReader(const SourceText& source);

  // Call once, first. Without it (triggers) the escape character is `\` and there are no
  // directives.
  Directives readDirectives();
  // nullopt at the end of the file.
  std::optional<LogicalLine> next();
  // Reads the body of a heredoc that was announced on `lines`; false when its end is missing.
  bool readHeredoc(Heredoc& heredoc);
  // Number of the physical line read last.
  [[nodiscard]] int lineNumber() const { return number_; }

 private:
  std::optional<std::string_view> readPhysical();  // with its line ending
  bool readDirective(std::string_view line, Directives& directives);
  // Removes the escape character at the end; false when there is none.
  bool cutContinuation(std::string_view& line) const;
  void readContinuation(LogicalLine& logical);

  SourceText source_;
  std::string_view rest_;
  int number_ = 0;
  char escape_ = '\\';
};

}  // namespace img::parser
