// The syntax tree: one Instruction per logical line, as `--print=ast` shows it (cli.md 8, X3).
// Nothing is expanded or checked beyond dockerfile.md section 1. Values only; parsing opens no
// file.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace img::parser {

struct Heredoc {
  std::string name;     // delimiter, quotes removed
  std::string content;  // raw text between, every line with its newline, tabs kept
  bool expand = true;   // no part of the delimiter was quoted
  bool chomp = false;   // <<-
  std::string fd;       // digits before <<, for the shell only
};

struct Instruction {
  std::string keyword;             // upper case
  std::string written;             // as in the file
  int line = 0;                    // first physical line, 1-based
  int endLine = 0;                 // last physical line, heredoc terminators included
  std::vector<std::string> flags;  // leading --x[=y], quotes and escapes removed
  std::vector<std::string> args;   // X3 of cli.md says what for which instruction
  bool json = false;               // the argument was a JSON array of strings
  std::vector<Heredoc> heredocs;
  std::string original;               // the logical line
  std::string body;                   // what follows keyword and flags, trimmed
  std::vector<std::string> comments;  // comment lines attached to it, trimmed (dockerfile.md 1.4)
  bool emptyContinuation = false;     // a blank line inside (check NoEmptyContinuation)
  bool brokenJson = false;            // begins with [" but is shell form (Q7)
  std::vector<Instruction> child;     // ONBUILD: exactly one
};

struct Directives {
  char escape = '\\';
  std::optional<std::string> syntax;
  std::optional<std::string> check;
  int escapeLine = 0, syntaxLine = 0, checkLine = 0;  // 0: not given
};

struct Syntax {
  Directives directives;
  std::vector<Instruction> instructions;
  int lineCount = 0;
};

// Throws Kind::failed with code "parse" and a Position (file = `name`, line, endLine, text).
Syntax parseSyntax(std::string_view text, std::string_view name);

// Parses one instruction by itself (an ONBUILD trigger, `commit --change`); escape is `\`.
Instruction parseTrigger(std::string_view text, std::string_view name);

// The JSON of X3: one compact array and a newline; keys in X3's order.
std::string printSyntax(const Syntax& syntax);

}  // namespace img::parser
