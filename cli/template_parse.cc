#include <array>
#include <cctype>
#include <cstdlib>
#include <optional>

#include "base/error.h"
#include "base/text.h"
#include "cli/template_tree.h"

namespace img::cli::tmpl {
namespace {

constexpr size_t kMaxDepth =
    64;  // of blocks and parentheses: templates come from scripts, the stack is ours

// NOLINTNEXTLINE(bugprone-exception-escape): the check looks into Json's noexcept move
struct Token {
  // `field` is ".Name" directly after an operand or on its own; `dot` is "." alone.
  enum class Type { word, dot, field, variable, literal, symbol, end } type = Type::end;
  std::string text;
  Json literal;
  size_t at = 0;
  bool spaceBefore = false;
};

[[noreturn]] void refuse(size_t at, std::string_view problem) {
  throw Error::make(Kind::failed, "template: {} (at character {})", problem, at + 1);
}

bool isNameStart(char c) {
  return std::isalpha(static_cast<unsigned char>(c)) != 0 || c == '_';
}
bool isNameChar(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_';
}
bool isDigit(char c) {
  return c >= '0' && c <= '9';
}
bool isBlank(char c) {
  return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

// The tokens of one action, the text between {{ and }}.
class Lexer {
 public:
  Lexer(std::string_view text, size_t offset) : text_(text), offset_(offset) {}

  std::vector<Token> run() {
    std::vector<Token> tokens;
    for (;;) {
      const size_t before = at_;
      while (at_ < text_.size() && isBlank(text_[at_])) ++at_;
      Token token;
      token.spaceBefore = at_ > before;
      token.at = offset_ + at_;
      if (at_ < text_.size()) read(token);
      tokens.push_back(std::move(token));
      if (tokens.back().type == Token::Type::end) return tokens;
    }
  }

 private:
  using Type = Token::Type;

  [[nodiscard]] char peek(size_t ahead = 0) const {
    return at_ + ahead < text_.size() ? text_[at_ + ahead] : '\0';
  }

  std::string takeName() {
    const size_t start = at_;
    while (isNameChar(peek())) ++at_;
    return std::string{text_.substr(start, at_ - start)};
  }

  void read(Token& token) {
    const char c = peek();
    if (isNameStart(c)) {
      token.type = Type::word;
      token.text = takeName();
      readConstant(token);
    } else if (c == '$') {
      ++at_;
      token.type = Type::variable;
      token.text = takeName();
    } else if (c == '.' && isNameStart(peek(1))) {
      ++at_;
      token.type = Type::field;
      token.text = takeName();
    } else if (c == '.' && !isDigit(peek(1))) {
      ++at_;
      token.type = Type::dot;
    } else if (c == '"' || c == '`' || c == '\'') {
      readQuoted(token);
    } else if (isDigit(c) || c == '.' || ((c == '-' || c == '+') && isDigit(peek(1)))) {
      readNumber(token);
    } else {
      readSymbol(token);
    }
  }

  static void readConstant(Token& token) {
    if (token.text == "true" || token.text == "false") {
      token.literal = token.text == "true";
    } else if (token.text != "nil") {
      return;
    }
    token.type = Type::literal;
  }

  void readSymbol(Token& token) {
    token.type = Type::symbol;
    token.text = text_.substr(at_, text_.substr(at_).starts_with(":=") ? 2 : 1);
    if (token.text != ":=" &&
        std::string_view{"|(),="}.find(token.text) == std::string_view::npos) {
      refuse(token.at, "unexpected " + text::quote(token.text));
    }
    at_ += token.text.size();
  }

  void readNumber(Token& token) {
    const size_t start = at_++;
    while (isNameChar(peek()) || peek() == '.' ||
           ((peek() == '-' || peek() == '+') && (text_[at_ - 1] == 'e' || text_[at_ - 1] == 'E'))) {
      ++at_;
    }
    const std::string digits{text_.substr(start, at_ - start)};
    token.type = Type::literal;
    char* end = nullptr;
    errno = 0;
    const long long whole = std::strtoll(digits.c_str(), &end, 0);
    if (*end == '\0' && errno == 0) {
      token.literal = whole;
      return;
    }
    const double real = std::strtod(digits.c_str(), &end);
    if (*end != '\0') refuse(token.at, "bad number " + text::quote(digits));
    token.literal = real;
  }

  void readQuoted(Token& token) {
    const char quote = text_[at_++];
    token.type = Type::literal;
    std::string value;
    for (;; ++at_) {
      if (at_ >= text_.size()) refuse(token.at, "a quoted string does not end");
      if (peek() == quote) break;
      if (peek() == '\\' && quote != '`') {
        ++at_;
        readEscape(value, token.at);
      } else {
        value += peek();
      }
    }
    ++at_;
    if (quote == '\'') {  // a character constant is a number in Go
      if (value.size() != 1) refuse(token.at, "a character constant holds one character");
      token.literal = static_cast<unsigned char>(value[0]);
    } else {
      token.literal = value;
    }
  }

  // At the character after the backslash; Go's interpreted string literals.
  void readEscape(std::string& value, size_t tokenAt) {
    static constexpr std::array<std::pair<char, char>, 10> kPlain{{{'n', '\n'},
                                                                   {'t', '\t'},
                                                                   {'r', '\r'},
                                                                   {'a', '\a'},
                                                                   {'b', '\b'},
                                                                   {'f', '\f'},
                                                                   {'v', '\v'},
                                                                   {'\\', '\\'},
                                                                   {'"', '"'},
                                                                   {'\'', '\''}}};
    for (const auto& [name, byte] : kPlain) {
      if (peek() != name) continue;
      value += byte;
      return;
    }
    const size_t digits = peek() == 'x' ? 2 : peek() == 'u' ? 4 : peek() == 'U' ? 8 : 0;
    const std::string hex{text_.substr(std::min(at_ + 1, text_.size()), digits)};
    char* end = nullptr;
    const unsigned long code = std::strtoul(hex.c_str(), &end, 16);
    if (digits == 0 || hex.size() != digits || *end != '\0' || !isNameChar(hex[0])) {
      refuse(tokenAt, "unknown escape in a string");
    }
    at_ += digits;
    if (digits == 2) {
      value += static_cast<char>(code);
    } else {
      appendUtf8(value, code, tokenAt);
    }
  }

  static void appendUtf8(std::string& value, unsigned long code, size_t tokenAt) {
    if (code > 0x10FFFF || (code >= 0xD800 && code < 0xE000)) {
      refuse(tokenAt, "an escape is no Unicode character");
    }
    const auto tail = [&](unsigned shift) {
      value += static_cast<char>(0x80 | ((code >> shift) & 0x3F));
    };
    if (code < 0x80) {
      value += static_cast<char>(code);
    } else if (code < 0x800) {
      value += static_cast<char>(0xC0 | (code >> 6));
    } else if (code < 0x10000) {
      value += static_cast<char>(0xE0 | (code >> 12));
      tail(6);
    } else {
      value += static_cast<char>(0xF0 | (code >> 18));
      tail(12);
      tail(6);
    }
    if (code >= 0x80) tail(0);
  }

  std::string_view text_;
  size_t offset_;
  size_t at_ = 0;
};

// One piece of the source: plain text, or the tokens of an action.
struct Piece {
  bool isAction = false;
  std::string text;
  std::vector<Token> tokens;
  size_t at = 0;
};

// The end of an action's text: the next "}}" outside quotes.
size_t findClose(std::string_view source, size_t start) {
  for (size_t at = start; at < source.size(); ++at) {
    const char c = source[at];
    if (source.substr(at).starts_with("}}")) return at;
    if (c != '"' && c != '`' && c != '\'') continue;
    for (++at; at < source.size() && source[at] != c; ++at) {
      if (source[at] == '\\' && c != '`') ++at;
    }
  }
  refuse(start, "an action does not end with }}");
}

constexpr std::string_view kBlanks = " \t\r\n";

// Splits at {{ and }}, drops comments, applies the trim markers "{{- " and " -}}".
class Splitter {
 public:
  explicit Splitter(std::string_view source) : source_(source) {}

  std::vector<Piece> run() {
    for (;;) {
      const size_t open = std::min(source_.find("{{", at_), source_.size());
      addText(source_.substr(at_, open - at_), startsWithMarker(open + 2));
      if (open == source_.size()) return std::move(pieces_);
      addAction(open + 2 + (startsWithMarker(open + 2) ? 1 : 0));
    }
  }

 private:
  [[nodiscard]] bool startsWithMarker(size_t at) const {
    return at + 1 < source_.size() && source_[at] == '-' && isBlank(source_[at + 1]);
  }

  void addText(std::string_view text, bool trimsEnd) {
    if (trimsNext_) text.remove_prefix(std::min(text.find_first_not_of(kBlanks), text.size()));
    if (trimsEnd) text = text.substr(0, text.find_last_not_of(kBlanks) + 1);
    if (!text.empty()) pieces_.push_back({false, std::string{text}, {}, at_});
  }

  void addAction(size_t start) {
    // A comment may hold quotes and }}, so it is skipped before the end is searched.
    size_t first = std::min(source_.find_first_not_of(kBlanks, start), source_.size());
    const bool isComment = source_.substr(first).starts_with("/*");
    if (isComment) {
      first = source_.find("*/", first);
      if (first == std::string_view::npos) refuse(start, "a comment does not end");
      first += 2;
    }
    const size_t close = findClose(source_, isComment ? first : start);
    std::string_view inside = source_.substr(start, close - start);
    trimsNext_ = inside.size() >= 2 && inside.back() == '-' && isBlank(inside[inside.size() - 2]);
    if (trimsNext_) inside.remove_suffix(1);
    if (!isComment) pieces_.push_back({true, {}, Lexer{inside, start}.run(), start});
    at_ = close + 2;
  }

  std::string_view source_;
  size_t at_ = 0;
  bool trimsNext_ = false;
  std::vector<Piece> pieces_;
};

// Reads a pipeline from the tokens of one action.
class PipeReader {
 public:
  using Type = Token::Type;
  PipeReader(const std::vector<Token>& tokens, size_t at) : tokens_(tokens), at_(at) {}

  Pipe readAll() {
    Pipe pipe = readPipe();
    if (now().type != Type::end) refuse(now().at, "unexpected " + describe());
    return pipe;
  }

 private:
  [[nodiscard]] const Token& now() const { return tokens_[at_]; }
  [[nodiscard]] bool isSymbol(std::string_view text) const {
    return now().type == Type::symbol && now().text == text;
  }
  [[nodiscard]] std::string describe() const {
    return now().type == Type::end ? "end of action" : text::quote(now().text);
  }

  // `$x :=`, `$x =`, `$i, $v :=`.
  void readVariables(Pipe& pipe) {
    const size_t start = at_;
    std::vector<std::string> names;
    while (now().type == Type::variable && names.size() < 2) {
      names.push_back(now().text);
      ++at_;
      if (isSymbol(":=") || isSymbol("=")) {
        pipe.declares = isSymbol(":=");
        pipe.variables = std::move(names);
        ++at_;
        return;
      }
      if (!isSymbol(",")) break;
      ++at_;
    }
    at_ = start;
  }

  Pipe readPipe() {
    if (++depth_ > kMaxDepth) refuse(now().at, "parentheses are nested too deeply");
    Pipe pipe;
    readVariables(pipe);
    for (;;) {
      pipe.commands.push_back(readCommand());
      if (!isSymbol("|")) break;
      ++at_;
    }
    --depth_;
    return pipe;
  }

  Command readCommand() {
    Command command;
    while (auto operand = tryOperand()) command.push_back(std::move(*operand));
    if (command.empty()) refuse(now().at, "a value is missing before " + describe());
    return command;
  }

  std::optional<Operand> tryOperand() {
    Operand operand;
    const Token& token = now();
    switch (token.type) {
      case Type::dot: ++at_; break;
      case Type::field: break;  // a field of dot, taken below
      case Type::variable:
        operand.source = Operand::Source::variable;
        operand.name = token.text;
        ++at_;
        break;
      case Type::literal:
        operand.source = Operand::Source::literal;
        operand.literal = token.literal;
        ++at_;
        return operand;
      case Type::word:
        if (!isFunction(token.text)) refuse(token.at, "no function " + text::quote(token.text));
        operand.source = Operand::Source::function;
        operand.name = token.text;
        ++at_;
        return operand;
      case Type::symbol:
        if (!isSymbol("(")) return std::nullopt;
        ++at_;
        operand.source = Operand::Source::group;
        operand.group = std::make_shared<Pipe>(readPipe());
        if (!isSymbol(")")) refuse(now().at, "a parenthesis is not closed");
        ++at_;
        break;
      case Type::end: return std::nullopt;
    }
    bool isFirst = operand.source == Operand::Source::dot && token.type == Type::field;
    while (now().type == Type::field && (isFirst || !now().spaceBefore)) {
      operand.fields.push_back(now().text);
      ++at_;
      isFirst = false;
    }
    return operand;
  }

  const std::vector<Token>& tokens_;
  size_t at_;
  size_t depth_ = 0;
};

class Reader {
 public:
  explicit Reader(std::vector<Piece> pieces) : pieces_(std::move(pieces)) {}

  std::shared_ptr<Body> readAll() {
    auto body = std::make_shared<Body>();
    readBody(*body);
    if (at_ < pieces_.size()) refuse(pieces_[at_].at, "unexpected {{" + keyword() + "}}");
    return body;
  }

 private:
  [[nodiscard]] std::string keyword() const {
    const Token& first = pieces_[at_].tokens.front();
    return first.type == Token::Type::word ? first.text : "";
  }

  Pipe pipeFrom(const Piece& piece, size_t token) {
    return PipeReader{piece.tokens, token}.readAll();
  }

  void expectAlone(const Piece& piece) {
    if (piece.tokens.size() != 2) refuse(piece.tokens[1].at, "unexpected words in an action");
  }

  // Up to an {{else}} or {{end}} of an outer block, or the end.
  void readBody(Body& body) {
    for (; at_ < pieces_.size(); ++at_) {
      const Piece& piece = pieces_[at_];
      if (!piece.isAction) {
        body.nodes.emplace_back(Text{piece.text});
        continue;
      }
      const std::string word = keyword();
      if (word == "else" || word == "end") return;
      if (word == "if" || word == "with" || word == "range") {
        body.nodes.emplace_back(readBlock(word, 1));
      } else if (word == "break" || word == "continue") {
        expectAlone(piece);
        if (ranges_ == 0) refuse(piece.at, word + " stands outside a range");
        body.nodes.emplace_back(Jump{word == "break"});
      } else {
        body.nodes.emplace_back(Print{pipeFrom(piece, 0)});
      }
    }
  }

  // At the piece that opens the block; leaves at_ on its {{end}}.
  Block readBlock(const std::string& word, size_t token) {
    const Piece& opener = pieces_[at_++];
    if (++depth_ > kMaxDepth) refuse(opener.at, "blocks are nested too deeply");
    Block block;
    block.kind = word == "if"     ? Block::Kind::ifTrue
                 : word == "with" ? Block::Kind::with
                                  : Block::Kind::range;
    block.pipe = pipeFrom(opener, token);
    const bool isRange = block.kind == Block::Kind::range;
    if (block.pipe.variables.size() > 1 && !isRange) {
      refuse(opener.at, "only range sets two variables");
    }
    block.body = std::make_shared<Body>();
    ranges_ += isRange ? 1 : 0;
    readBody(*block.body);
    ranges_ -= isRange ? 1 : 0;
    if (at_ >= pieces_.size()) refuse(opener.at, word + " has no {{end}}");
    if (keyword() == "else") readElse(block, opener);
    --depth_;
    return block;
  }

  void readElse(Block& block, const Piece& opener) {
    const Piece& piece = pieces_[at_];
    block.otherwise = std::make_shared<Body>();
    const Token& next = piece.tokens[1];
    if (next.type == Token::Type::word && (next.text == "if" || next.text == "with")) {
      // {{else if}} is a block inside the else that shares the {{end}}.
      block.otherwise->nodes.emplace_back(readBlock(next.text, 2));
      return;
    }
    expectAlone(piece);
    ++at_;
    readBody(*block.otherwise);
    if (at_ >= pieces_.size() || keyword() != "end") refuse(opener.at, "a block has no {{end}}");
  }

  std::vector<Piece> pieces_;
  size_t at_ = 0;
  size_t depth_ = 0, ranges_ = 0;
};

}  // namespace

std::shared_ptr<const Body> parseTemplate(std::string_view source) {
  return Reader{Splitter{source}.run()}.readAll();
}

}  // namespace img::cli::tmpl
