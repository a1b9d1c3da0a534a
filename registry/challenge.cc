#include "registry/challenge.h"

#include <algorithm>
#include <optional>

#include "base/error.h"
#include "base/text.h"

namespace img::registry {
namespace {

constexpr size_t kMaxHeader = size_t{64} << 10;  // security.md C6

// RFC 9110 5.6.2
bool isTokenChar(char c) {
  constexpr std::string_view kMarks = "!#$%&'*+-.^_`|~";
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
         kMarks.find(c) != std::string_view::npos;
}

class Parser {
 public:
  explicit Parser(std::string_view text) : text_(text) {}

  std::vector<Challenge> run() {
    std::vector<Challenge> challenges;
    skip(" \t,");
    while (!isAtEnd()) {
      element(challenges);
      skipBlanks();
      if (!isAtEnd() && peek() != ',') fail("a comma is missing");
      skip(" \t,");
    }
    if (challenges.empty()) fail("it is empty");
    return challenges;
  }

 private:
  // What stands between two commas: a scheme, a scheme with its first parameter, or one more
  // parameter of the challenge before. What follows the word tells which.
  void element(std::vector<Challenge>& challenges) {
    const std::string word = token();
    const size_t afterWord = at_;
    skipBlanks();
    if (!isAtEnd() && peek() == '=') {
      if (challenges.empty()) fail("a parameter stands before any scheme");
      return parameter(challenges.back(), word);
    }
    challenges.push_back({text::lower(word), {}});
    if (isAtEnd() || peek() == ',') return;
    if (at_ == afterWord) fail("a blank is missing after the scheme");
    const std::string next = token();
    skipBlanks();
    // token68 (RFC 9110 11.2): a word alone, as Negotiate has it, maybe padded.
    if (isAtEnd() || peek() == ',' || isPadding()) return skip("=");
    if (peek() != '=') fail("a parameter without a value");
    parameter(challenges.back(), next);
  }

  [[nodiscard]] bool isPadding() const {
    const size_t end = text_.find_first_not_of('=', at_);
    const bool hasPadding = end != at_;
    return hasPadding && (end == std::string_view::npos || text_[end] == ',');
  }

  void parameter(Challenge& challenge, const std::string& name) {
    ++at_;  // the equals sign
    skipBlanks();
    if (isAtEnd()) fail("a parameter without a value");
    std::string value = peek() == '"' ? quoted() : token();
    const bool isNew = challenge.values.emplace(text::lower(name), std::move(value)).second;
    if (!isNew) fail("a parameter twice");
  }

  std::string token() {
    const size_t begin = at_;
    while (!isAtEnd() && (isTokenChar(peek()) || peek() == '/')) ++at_;
    if (at_ == begin) fail("a word is missing");
    return std::string{text_.substr(begin, at_ - begin)};
  }

  std::string quoted() {
    std::string value;
    for (++at_; !isAtEnd(); ++at_) {
      char c = peek();
      if (c == '"') {
        ++at_;
        return value;
      }
      if (c == '\\') {
        if (++at_ == text_.size()) break;
        c = peek();
      }
      const auto byte = static_cast<unsigned char>(c);
      if ((byte < 0x20 && c != '\t') || byte == 0x7f) fail("a control character");
      value += c;
    }
    fail("a quote is not closed");
  }

  void skip(std::string_view set) {
    while (!isAtEnd() && set.find(peek()) != std::string_view::npos) ++at_;
  }
  void skipBlanks() { skip(" \t"); }
  [[nodiscard]] bool isAtEnd() const { return at_ == text_.size(); }
  [[nodiscard]] char peek() const { return text_[at_]; }
  [[noreturn]] void fail(std::string_view what) const {
    throw Error::make(Kind::corrupt,
                      "the header WWW-Authenticate cannot be understood: {} at byte {}", what, at_)
        .why(text::escape(text_));
  }

  std::string_view text_;
  size_t at_ = 0;
};

}  // namespace

std::string Challenge::value(const std::string& name) const {
  const auto found = values.find(name);
  return found == values.end() ? "" : found->second;
}

std::vector<Challenge> parseChallenges(std::string_view header) {
  if (header.size() > kMaxHeader) {
    throw Error::make(Kind::corrupt, "the header WWW-Authenticate has more than {} bytes",
                      kMaxHeader);
  }
  return Parser{header}.run();
}

}  // namespace img::registry
