// One path pattern, compiled to a small automaton that is run over the path once: time linear in
// the path whatever the pattern, because patterns are user input (dockerfile.md 4.4). Two dialects
// share it: ignore patterns with ** (4.2), and the wildcards of COPY sources (3.8), where nothing
// crosses a '/'.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace img::parser {

class Glob {
 public:
  enum class Dialect { ignore, wildcard };
  // Throws Kind::failed, code "parse": `bad pattern {p}: ...`.
  static Glob compile(std::string_view pattern, Dialect dialect);

  [[nodiscard]] bool matches(std::string_view path) const;
  // Whether some path below `folder` (any depth) could match.
  [[nodiscard]] bool canMatchBelow(std::string_view folder) const;

 private:
  enum class What : std::uint8_t {
    literal,
    one,         // any character but '/'
    set,         // [...]
    run,         // any run without '/'
    everything,  // any run
    folders,     // entry of (.*/)?: may be skipped
    inFolders,   // its inside
  };
  struct Token {
    What what;
    char32_t literal = 0;  // or the index into sets_
  };
  struct Set {
    bool negated = false;
    bool slash = false;  // may stand for a '/'
    std::vector<std::pair<char32_t, char32_t>> ranges;
    [[nodiscard]] bool contains(char32_t c) const;
  };
  class Compiler;
  template <class States>
  void addState(States& states, size_t state) const;
  template <class States>
  [[nodiscard]] bool simulate(std::string_view path, bool wholePath) const;
  [[nodiscard]] bool run(std::string_view path, bool wholePath) const;
  void findLiteralForm();

  std::vector<Token> tokens_;
  std::vector<Set> sets_;
  // Patterns without wildcards, and `**` + text, are plain comparisons.
  enum class Form : std::uint8_t { exact, suffix, automaton };
  Form form_ = Form::automaton;
  std::string text_;
};

}  // namespace img::parser
