#include "parser/json_array.h"

#include <cstdint>

#include "parser/chars.h"

namespace img::parser {
namespace {

// Deeper nesting counts as "not JSON"; the array form allows no nesting at all, so only hostile
// input comes here, and the stack below is a string, not the call stack.
constexpr size_t kMaxDepth = 10000;
constexpr char32_t kReplacement = 0xFFFD;

class Reader {
 public:
  explicit Reader(std::string_view text) : text_(text) {}

  std::optional<JsonArray> run() {
    JsonArray result;
    skipSpace();
    if (!take('[')) return std::nullopt;
    skipSpace();
    if (take(']')) return finish(std::move(result));
    for (int number = 1;; ++number) {
      skipSpace();
      if (!readElement(result, number)) return std::nullopt;
      skipSpace();
      if (take(',')) continue;
      if (take(']')) return finish(std::move(result));
      return std::nullopt;
    }
  }

 private:
  std::optional<JsonArray> finish(JsonArray result) {
    skipSpace();
    if (pos_ != text_.size()) return std::nullopt;
    return result;
  }

  bool readElement(JsonArray& result, int number) {
    if (peek() == '"') {
      std::string value;
      if (!readString(&value)) return false;
      result.strings.push_back(std::move(value));
      return true;
    }
    const std::string_view type = typeAt();
    if (type.empty() || !skipValue()) return false;
    if (result.badElement == 0) {
      result.badElement = number;
      result.badType = type;
    }
    return true;
  }

  [[nodiscard]] std::string_view typeAt() const {
    switch (peek()) {
      case '[': return "an array";
      case '{': return "an object";
      case 't':
      case 'f': return "a boolean";
      case 'n': return "null";
      default: return peek() == '-' || isDigit(peek()) ? "a number" : "";
    }
  }

  // One value of any kind; the containers still open are on `open`, innermost last.
  bool skipValue() {
    std::string open;
    do {
      skipSpace();
      const char c = peek();
      if (c == '[' || c == '{') {
        if (open.size() >= kMaxDepth) return false;
        ++pos_;
        skipSpace();
        if (!take(closing(c))) {
          open.push_back(c);
          if (c == '{' && !skipKey()) return false;
          continue;
        }
      } else if (!skipScalar()) {
        return false;
      }
      if (!skipToNextValue(open)) return false;
    } while (!open.empty());
    return true;
  }

  static char closing(char bracket) { return bracket == '[' ? ']' : '}'; }

  // Separators and closing brackets after a value, until another value is due or everything is
  // closed.
  bool skipToNextValue(std::string& open) {
    while (!open.empty()) {
      skipSpace();
      if (take(',')) {
        skipSpace();
        return open.back() == '[' || skipKey();
      }
      if (!take(closing(open.back()))) return false;
      open.pop_back();
    }
    return true;
  }

  bool skipKey() {
    if (!readString(nullptr)) return false;
    skipSpace();
    return take(':');
  }

  bool skipScalar() {
    if (peek() == '"') return readString(nullptr);
    if (peek() == '-' || isDigit(peek())) return skipNumber();
    return takeWord("true") || takeWord("false") || takeWord("null");
  }

  bool skipNumber() {
    take('-');
    if (!take('0') && !skipDigits()) return false;
    if (take('.') && !skipDigits()) return false;
    if (take('e') || take('E')) {
      if (!take('+')) take('-');
      if (!skipDigits()) return false;
    }
    return true;
  }

  bool skipDigits() {
    const size_t start = pos_;
    while (isDigit(peek())) ++pos_;
    return pos_ > start;
  }

  bool readString(std::string* into) {
    if (!take('"')) return false;
    while (pos_ < text_.size()) {
      const char c = text_[pos_];
      if (c == '"') return ++pos_, true;
      if (static_cast<unsigned char>(c) < 0x20) return false;
      if (c == '\\') {
        if (!readEscape(into)) return false;
        continue;
      }
      const char32_t value = nextChar(text_, pos_);
      if (into != nullptr) appendChar(*into, value >= kRawByte ? kReplacement : value);
    }
    return false;
  }

  bool readEscape(std::string* into) {
    if (pos_ + 1 >= text_.size()) return false;
    const char c = text_[pos_ + 1];
    pos_ += 2;
    char32_t value = 0;
    switch (c) {
      case '"':
      case '\\':
      case '/': value = static_cast<unsigned char>(c); break;
      case 'b': value = '\b'; break;
      case 'f': value = '\f'; break;
      case 'n': value = '\n'; break;
      case 'r': value = '\r'; break;
      case 't': value = '\t'; break;
      case 'u':
        if (!readUnicode(value)) return false;
        break;
      default: return false;
    }
    if (into != nullptr) appendChar(*into, value);
    return true;
  }

  // \uXXXX; a pair of surrogates is one character, a lone one becomes U+FFFD.
  bool readUnicode(char32_t& value) {
    const auto high = hex4(pos_);
    if (!high) return false;
    pos_ += 4;
    value = *high;
    if (value < 0xD800 || value > 0xDFFF) return true;
    const bool pair = value < 0xDC00 && text_.substr(pos_, 2) == "\\u";
    const auto low = pair ? hex4(pos_ + 2) : std::nullopt;
    if (low && *low >= 0xDC00 && *low <= 0xDFFF) {
      pos_ += 6;
      value = 0x10000 + ((value - 0xD800) << 10) + (*low - 0xDC00);
    } else {
      value = kReplacement;
    }
    return true;
  }

  [[nodiscard]] std::optional<char32_t> hex4(size_t at) const {
    if (text_.size() < at + 4) return std::nullopt;
    char32_t value = 0;
    for (const char c : text_.substr(at, 4)) {
      const char lower = static_cast<char>(c | 0x20);
      if (isDigit(c)) {
        value = value * 16 + static_cast<char32_t>(c - '0');
      } else if (lower >= 'a' && lower <= 'f') {
        value = value * 16 + static_cast<char32_t>(lower - 'a' + 10);
      } else {
        return std::nullopt;
      }
    }
    return value;
  }

  [[nodiscard]] char peek() const { return pos_ < text_.size() ? text_[pos_] : '\0'; }
  bool take(char c) {
    if (pos_ >= text_.size() || text_[pos_] != c) return false;
    ++pos_;
    return true;
  }
  bool takeWord(std::string_view word) {
    if (text_.substr(pos_, word.size()) != word) return false;
    pos_ += word.size();
    return true;
  }
  void skipSpace() {
    while (pos_ < text_.size() && (text_[pos_] == ' ' || text_[pos_] == '\t' ||
                                   text_[pos_] == '\n' || text_[pos_] == '\r')) {
      ++pos_;
    }
  }

  std::string_view text_;
  size_t pos_ = 0;
};

}  // namespace

std::optional<JsonArray> parseJsonArray(std::string_view text) {
  if (text.empty() || (text[0] != '[' && text[0] != ' ' && text[0] != '\t')) return std::nullopt;
  return Reader{text}.run();
}

}  // namespace img::parser
