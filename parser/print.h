// Text forms that outside checks read: the X4 line protocol of cli.md 8 (X3 is printSyntax in
// syntax.h), and the JSON strings both are made of.
#pragma once

#include <string>
#include <string_view>

#include "parser/expand.h"

namespace img::parser {

// Appends `text` as a JSON string: UTF-8, bytes outside it as U+FFFD, only what must be is escaped.
void appendJsonString(std::string& out, std::string_view text);

struct WordsRequest {
  std::string_view input;  // all of stdin
  Lookup lookup;           // the --build-env variables
  bool split = false;
  char escape = '\\';
};
// One line of output per line of input; errors are lines, too.
std::string printWords(const WordsRequest& request);

}  // namespace img::parser
