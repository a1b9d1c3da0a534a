// Word expansion (dockerfile.md section 2): quotes, escapes and the ${...} forms.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace img::parser {

// The value of a variable, or nullptr when unset. The pointer is used before the next call.
using Lookup = std::function<const std::string*(std::string_view name)>;

struct ExpandOptions {
  char escape = '\\';
  bool rawQuotes = false;   // keep quote characters
  bool rawEscapes = false;  // keep the escape character
  bool skipQuotes = false;  // quotes are ordinary characters (heredoc bodies, 2.9)
  bool keepUnset = false;   // an unset variable reproduces its own text (step names)
};

struct Expansion {
  std::string text;
  std::vector<std::string> unset;  // names looked up and not set, without those with a default form
};

// One-word mode. Throws Kind::failed, code "parse", with the messages of 2.10 without the "{INSTR}:
// " prefix.
Expansion expand(std::string_view word, const Lookup& lookup, const ExpandOptions& options = {});

// Multi-word mode: the unquoted part of the result is split at blanks, empty results vanish
// (EXPOSE).
std::vector<std::string> expandWords(std::string_view word, const Lookup& lookup,
                                     const ExpandOptions& options = {});

}  // namespace img::parser
