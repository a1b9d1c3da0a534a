#include "parser/expand.h"

#include <optional>
#include <utility>

#include "base/text.h"
#include "parser/chars.h"
#include "parser/fault.h"
#include "parser/pattern.h"

namespace img::parser {
namespace {

// ${a:-${b:-...}} nests by recursion; nothing real goes deeper than a handful.
constexpr int kMaxDepth = 100;
// A few ${V//x/$W} lines could otherwise grow a value without bound.
constexpr size_t kMaxResult = size_t{16} << 20;

constexpr std::string_view kSpecialNames = "@*#?-$!0";

bool isNameChar(char c) {
  return isNameStart(c) || isDigit(c);
}

// The words of multi-word mode, built beside the text: unquoted white space ends a word (2.4).
class WordSplitter {
 public:
  void add(std::string_view text, bool quoted) {
    for (size_t pos = 0; pos < text.size();) {
      const size_t space = quoted ? 0 : spaceLength(text, pos);
      if (space != 0) {
        end();
        pos += space;
      } else {
        word_.push_back(text[pos++]);
      }
    }
  }
  void end() {
    if (!word_.empty()) words_.push_back(std::exchange(word_, {}));
  }
  std::vector<std::string> take() {
    end();
    return std::move(words_);
  }

 private:
  std::string word_;
  std::vector<std::string> words_;
};

// One pass over one word. Parts inside ${...} are read by the same object, by recursion.
class Expander {
 public:
  Expander(std::string_view text, const Lookup& lookup, const ExpandOptions& options)
      : text_(text), lookup_(lookup), options_(options) {}

  std::string run(WordSplitter* splitter) {
    std::string result;
    readUntil('\0', options_.rawEscapes, result, splitter);
    return result;
  }

  std::vector<std::string> unset;

 private:
  struct Out {
    std::string& text;
    WordSplitter* splitter;
    void add(std::string_view part, bool quoted) const {
      text += part;
      if (splitter != nullptr) splitter->add(part, quoted);
    }
  };

  // Up to and past an unquoted `stop`, or to the end if `stop` is NUL.
  void readUntil(char stop, bool rawEscapes, std::string& into, WordSplitter* splitter) {
    const Out out{into, splitter};
    while (pos_ < text_.size()) {
      const char c = text_[pos_];
      if (stop != '\0' && c == stop) {
        ++pos_;
        return;
      }
      if (c == '$') {
        out.add(readDollar(rawEscapes), false);
      } else if (c == '\'' && !options_.skipQuotes) {
        readSingleQuoted(out);
      } else if (c == '"' && !options_.skipQuotes) {
        readDoubleQuoted(rawEscapes, out);
      } else if (c == options_.escape) {
        readEscape(rawEscapes, out);
      } else if (c == '<' && splitter != nullptr) {
        readPossibleHeredoc(out);
      } else {
        readPlain(stop, out);
      }
      checkSize(into.size());
    }
    if (stop != '\0') {
      throw badValue(fmt::format("missing \"{}\" in {}", stop, text::quote(text_)));
    }
  }

  void readPlain(char stop, const Out& out) {
    const size_t start = pos_++;
    while (pos_ < text_.size()) {
      const char c = text_[pos_];
      if (c == '$' || c == '\'' || c == '"' || c == '<' || c == options_.escape) break;
      if (stop != '\0' && c == stop) break;
      ++pos_;
    }
    out.add(text_.substr(start, pos_ - start), false);
  }

  // "<< EOF" is one word: the blanks after the operator belong to the marker (1.9). Not so after
  // "<<-", where BuildKit's lexer sees two words, and no heredoc.
  void readPossibleHeredoc(const Out& out) {
    if (text_.substr(pos_, 2) != "<<") {
      ++pos_;
      return out.add("<", false);
    }
    const size_t start = pos_;
    pos_ += 2;
    while (pos_ < text_.size() &&
           (text_[pos_] == ' ' || text_[pos_] == '\t' || text_[pos_] == '\r')) {
      ++pos_;
    }
    out.add(text_.substr(start, pos_ - start), true);
  }

  void readEscape(bool rawEscapes, const Out& out) {
    if (rawEscapes) out.add(text_.substr(pos_, 1), true);
    if (++pos_ == text_.size()) return;  // at the end it vanishes
    const size_t start = pos_;
    nextChar(text_, pos_);
    out.add(text_.substr(start, pos_ - start), true);
  }

  void readSingleQuoted(const Out& out) {
    const size_t start = pos_;
    const size_t end = text_.find('\'', pos_ + 1);
    if (end == std::string_view::npos) throw unclosed('\'');
    pos_ = end + 1;
    out.add(options_.rawQuotes ? text_.substr(start, pos_ - start)
                               : text_.substr(start + 1, end - start - 1),
            true);
  }

  void readDoubleQuoted(bool rawEscapes, const Out& out) {
    if (options_.rawQuotes) out.add("\"", true);
    ++pos_;
    while (pos_ < text_.size()) {
      const char c = text_[pos_];
      if (c == '"') {
        ++pos_;
        if (options_.rawQuotes) out.add("\"", true);
        return;
      }
      if (c == '$') {
        out.add(readDollar(rawEscapes), true);
      } else if (c == options_.escape && pos_ + 1 < text_.size()) {
        const char next = text_[pos_ + 1];
        const bool special = next == '"' || next == '$' || next == options_.escape;
        out.add(
            text_.substr(special && !rawEscapes ? pos_ + 1 : pos_, special && !rawEscapes ? 1 : 2),
            true);
        pos_ += 2;
      } else {
        const size_t start = pos_++;
        while (pos_ < text_.size() && text_[pos_] != '"' && text_[pos_] != '$' &&
               text_[pos_] != options_.escape) {
          ++pos_;
        }
        out.add(text_.substr(start, pos_ - start), true);
      }
      checkSize(out.text.size());
    }
    throw unclosed('"');
  }

  // At '$'. 2.2.
  std::string readDollar(bool rawEscapes) {
    const size_t start = pos_++;
    if (pos_ < text_.size() && text_[pos_] == '{') {
      ++pos_;
      if (++depth_ > kMaxDepth) {
        throw badValue(fmt::format("substitutions nested too deeply in {}", text::quote(text_)));
      }
      std::string result = readBraces(start, rawEscapes);
      --depth_;
      return result;
    }
    const std::string_view name = readName();
    if (name.empty()) return "$";
    const std::string* value = get(name);
    if (value != nullptr) return *value;
    unset.emplace_back(name);
    return options_.keepUnset ? std::string{text_.substr(start, pos_ - start)} : std::string{};
  }

  std::string readBraces(size_t start, bool rawEscapes) {
    const std::string_view name = readName();
    if (name.empty()) {
      if (pos_ == text_.size())
        throw badValue(fmt::format("missing \"}}\" in {}", text::quote(text_)));
      throw badValue(fmt::format("bad substitution {}", text::quote(text_)));
    }
    if (pos_ == text_.size())
      throw badValue(fmt::format("missing \"}}\" in {}", text::quote(text_)));
    const std::string* found = get(name);
    // A copy, because the words below look up other names.
    const std::optional<std::string> value =
        found == nullptr ? std::nullopt : std::optional{*found};

    const char c = text_[pos_++];
    std::string result;
    switch (c) {
      case '}':
        if (!value) unset.emplace_back(name);
        result = value.value_or("");
        break;
      case ':':
      case '-':
      case '+':
      case '?': --pos_; return applyCondition(start, name, value, rawEscapes);
      case '#':
      case '%': result = applyTrim(c, name, value); break;
      case '/': result = applyReplace(name, value); break;
      default: --pos_; throw unsupported(pos_, 1);
    }
    return keepsText(value) ? source(start) : result;
  }

  std::string applyCondition(size_t start, std::string_view name,
                             const std::optional<std::string>& value, bool rawEscapes) {
    const size_t operatorAt = pos_;
    const bool colon = text_[pos_] == ':';
    if (colon) ++pos_;
    if (pos_ == text_.size())
      throw badValue(fmt::format("missing \"}}\" in {}", text::quote(text_)));
    const char op = text_[pos_++];
    if (op != '-' && op != '+' && op != '?') throw unsupported(operatorAt, 2);

    std::string word;
    readUntil('}', rawEscapes, word, nullptr);
    if (keepsText(value)) return source(start);
    const bool present = value && !(colon && value->empty());
    if (op == '+') return present ? word : std::string{};
    if (present) return *value;
    if (op == '-') return word;
    if (word.empty()) word = value ? "must not be empty" : "must be set";
    throw badValue(fmt::format("{}: {}", name, text::escape(word)));
  }

  std::string applyTrim(char op, std::string_view name, const std::optional<std::string>& value) {
    const bool longest = pos_ < text_.size() && text_[pos_] == op;
    if (longest) ++pos_;
    std::string word;
    readUntil('}', true, word, nullptr);
    const Pattern pattern = Pattern::compile(word);
    if (!value) return unset.emplace_back(name), std::string{};
    return op == '#' ? pattern.dropPrefix(*value, longest) : pattern.dropSuffix(*value, longest);
  }

  std::string applyReplace(std::string_view name, const std::optional<std::string>& value) {
    const bool all = pos_ < text_.size() && text_[pos_] == '/';
    if (all) ++pos_;
    std::string word;
    std::string by;
    readUntil('/', true, word, nullptr);
    readUntil('}', true, by, nullptr);
    const Pattern pattern = Pattern::compile(word);
    if (!value) return unset.emplace_back(name), std::string{};
    checkSize(by.empty() ? 0 : value->size() * by.size());  // the most it can become
    return pattern.replace(*value, by, all);
  }

  std::string_view readName() {
    const size_t start = pos_;
    if (pos_ == text_.size()) return {};
    const char first = text_[pos_];
    if (isNameStart(first)) {
      while (pos_ < text_.size() && isNameChar(text_[pos_])) ++pos_;
    } else if (isDigit(first)) {
      while (pos_ < text_.size() && isDigit(text_[pos_])) ++pos_;
    } else if (kSpecialNames.find(first) != std::string_view::npos) {
      ++pos_;
    }
    return text_.substr(start, pos_ - start);
  }

  // Positional and special parameters are never set (2.2).
  [[nodiscard]] const std::string* get(std::string_view name) const {
    return isNameStart(name[0]) ? lookup_(name) : nullptr;
  }

  [[nodiscard]] bool keepsText(const std::optional<std::string>& value) const {
    return options_.keepUnset && !value;
  }
  [[nodiscard]] std::string source(size_t start) const {
    return std::string{text_.substr(start, pos_ - start)};
  }

  void checkSize(size_t size) const {
    if (size > kMaxResult) {
      throw badValue(
          fmt::format("the value of {} is longer than {} bytes", text::quote(text_), kMaxResult));
    }
  }

  [[nodiscard]] Error unclosed(char quote) const {
    return badValue(fmt::format("missing closing {} in {}", quote, text::quote(text_)));
  }
  [[nodiscard]] Error unsupported(size_t at, size_t length) const {
    return badValue(fmt::format("unsupported modifier {} in {}",
                                text::quote(text_.substr(at, length)), text::quote(text_)));
  }

  std::string_view text_;
  const Lookup& lookup_;
  const ExpandOptions& options_;
  size_t pos_ = 0;
  int depth_ = 0;
};

// Most words have nothing to expand; they are copied without a second look.
bool isPlain(std::string_view word, char escape) {
  for (const char c : word) {
    if (c == '$' || c == '\'' || c == '"' || c == escape) return false;
  }
  return true;
}

}  // namespace

Expansion expand(std::string_view word, const Lookup& lookup, const ExpandOptions& options) {
  Expansion result;
  if (isPlain(word, options.escape)) {
    result.text = std::string{word};
    return result;
  }
  Expander expander{word, lookup, options};
  result.text = expander.run(nullptr);
  result.unset = std::move(expander.unset);
  return result;
}

std::vector<std::string> expandWords(std::string_view word, const Lookup& lookup,
                                     const ExpandOptions& options) {
  WordSplitter splitter;
  Expander{word, lookup, options}.run(&splitter);
  return splitter.take();
}

}  // namespace img::parser
