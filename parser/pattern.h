// The patterns of ${V#p}, ${V%p} and ${V/p/r} (dockerfile.md 2.3): `*` any run, `?` any one
// character, neither across a newline; \* \? \\ \} \/ literal. Matching takes time linear in the
// text.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace img::parser {

class Pattern {
 public:
  // Throws Kind::failed "bad pattern {p}: unknown escape {\x}".
  static Pattern compile(std::string_view text);

  [[nodiscard]] std::string dropPrefix(std::string_view value, bool longest) const;
  [[nodiscard]] std::string dropSuffix(std::string_view value, bool longest) const;
  // The leftmost longest match, or all of them from left to right.
  [[nodiscard]] std::string replace(std::string_view value, std::string_view by, bool all) const;

 private:
  enum class What { literal, one, any };
  struct Token {
    What what;
    char32_t literal;
  };
  struct Span {
    size_t begin;
    size_t end;
  };
  class Run;
  static bool findAt(const std::vector<Token>& tokens, const std::u32string& text, size_t from,
                     bool anchored, bool longest, Span& found);
  std::vector<Token> tokens_;
};

}  // namespace img::parser
