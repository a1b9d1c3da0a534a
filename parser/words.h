// The small lexers of section 1: flags before the body, ENV/LABEL/ARG words, heredoc markers.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "parser/syntax.h"

namespace img::parser {

struct FlagSplit {
  std::vector<std::string> flags;  // quotes and escapes removed
  std::string_view body;           // what follows, trimmed
};
// 1.6: the maximal prefix of words that start with "--".
FlagSplit splitFlags(std::string_view rest, char escape);

// 1.7: words separated by white space outside quotes; quotes and escapes stay as written.
std::vector<std::string> splitQuotedWords(std::string_view body, char escape);

// 1.9: the markers of a logical line, without content. Empty when the line does not lex.
std::vector<Heredoc> findHeredocs(std::string_view line);
// The heredoc that `word` as a whole announces.
std::optional<Heredoc> parseHeredocMarker(std::string_view word);

}  // namespace img::parser
