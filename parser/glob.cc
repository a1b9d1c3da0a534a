#include "parser/glob.h"

#include <algorithm>
#include <bit>

#include "base/text.h"
#include "parser/chars.h"
#include "parser/fault.h"

namespace img::parser {
namespace {

// The set of states the automaton is in. Nearly every pattern fits into one machine word.
class SmallStates {
 public:
  explicit SmallStates(size_t) {}
  bool add(size_t state) {
    const std::uint64_t bit = std::uint64_t{1} << state;
    const bool isNew = (bits_ & bit) == 0;
    bits_ |= bit;
    return isNew;
  }
  [[nodiscard]] bool has(size_t state) const { return ((bits_ >> state) & 1) != 0; }
  [[nodiscard]] bool empty() const { return bits_ == 0; }
  void clear() { bits_ = 0; }
  template <class Visit>
  void forEach(Visit visit) const {
    for (std::uint64_t rest = bits_; rest != 0; rest &= rest - 1) {
      visit(static_cast<size_t>(std::countr_zero(rest)));
    }
  }

 private:
  std::uint64_t bits_ = 0;
};

class LargeStates {
 public:
  explicit LargeStates(size_t count) : present_(count, false) {}
  bool add(size_t state) {
    if (present_[state]) return false;
    present_[state] = true;
    list_.push_back(state);
    return true;
  }
  [[nodiscard]] bool has(size_t state) const { return present_[state]; }
  [[nodiscard]] bool empty() const { return list_.empty(); }
  void clear() {
    for (const size_t state : list_) present_[state] = false;
    list_.clear();
  }
  template <class Visit>
  void forEach(Visit visit) const {
    for (const size_t state : list_) visit(state);
  }

 private:
  std::vector<bool> present_;
  std::vector<size_t> list_;
};

}  // namespace

class Glob::Compiler {
 public:
  Compiler(std::string_view pattern, Dialect dialect) : text_(pattern), dialect_(dialect) {}

  Glob run() {
    while (pos_ < text_.size()) {
      const size_t start = pos_;
      const char32_t c = nextChar(text_, pos_);
      switch (c) {
        case U'*': readStar(start == 0); break;
        case U'?': add(What::one); break;
        case U'[': readSet(); break;
        case U'\\': add(What::literal, readEscaped()); break;
        default: add(What::literal, c); break;
      }
    }
    glob_.findLiteralForm();
    return std::move(glob_);
  }

 private:
  void add(What what, char32_t literal = 0) { glob_.tokens_.push_back({what, literal}); }

  void readStar(bool isFirst) {
    if (dialect_ == Dialect::wildcard || text_.substr(pos_, 1) != "*") return add(What::run);
    ++pos_;
    if (text_.substr(pos_, 1) == "/") {
      ++pos_;
    } else if (isFirst && text_.find_first_of("*?[\\", pos_) == std::string_view::npos) {
      return add(What::everything);  // `**x`: any path that ends in x
    }
    if (pos_ == text_.size()) return add(What::everything);
    add(What::folders);
    add(What::inFolders);
  }

  void readSet() {
    Set set;
    // moby's matcher makes a regular expression of it, where [^x] also stands for '/'.
    set.slash = dialect_ == Dialect::ignore;
    if (text_.substr(pos_, 1) == "^") {
      set.negated = true;
      ++pos_;
    }
    while (set.ranges.empty() || text_.substr(pos_, 1) != "]") {
      const char32_t low = readSetMember();
      char32_t high = low;
      if (text_.substr(pos_, 1) == "-") {
        ++pos_;
        high = readSetMember();
      }
      if (high < low) throw bad("a range in [...] is the wrong way round");
      set.ranges.emplace_back(low, high);
    }
    ++pos_;
    add(What::set, static_cast<char32_t>(glob_.sets_.size()));
    glob_.sets_.push_back(std::move(set));
  }

  char32_t readSetMember() {
    if (pos_ == text_.size()) throw bad("[ without ]");
    if (text_[pos_] == '-' || text_[pos_] == ']') throw bad("misplaced - or ] in [...]");
    const char32_t c = nextChar(text_, pos_);
    return c == U'\\' ? readEscaped() : c;
  }

  char32_t readEscaped() {
    if (pos_ == text_.size()) throw bad("it ends in a backslash");
    return nextChar(text_, pos_);
  }

  [[nodiscard]] Error bad(std::string_view detail) const {
    return badValue(fmt::format("bad pattern {}: {}", text::quote(text_), detail));
  }

  std::string_view text_;
  Dialect dialect_;
  size_t pos_ = 0;
  Glob glob_;
};

Glob Glob::compile(std::string_view pattern, Dialect dialect) {
  return Compiler{pattern, dialect}.run();
}

void Glob::findLiteralForm() {
  const bool everythingFirst = !tokens_.empty() && tokens_[0].what == What::everything;
  std::string text;
  for (size_t i = everythingFirst ? 1 : 0; i < tokens_.size(); ++i) {
    if (tokens_[i].what != What::literal) return;
    appendChar(text, tokens_[i].literal);
  }
  form_ = everythingFirst ? Form::suffix : Form::exact;
  text_ = std::move(text);
}

bool Glob::Set::contains(char32_t c) const {
  if (c == U'/' && !slash) return false;
  const bool listed = std::any_of(ranges.begin(), ranges.end(), [c](const auto& range) {
    return c >= range.first && c <= range.second;
  });
  return listed != negated;
}

// Adds a state and all that can be reached from it without reading a character.
template <class States>
void Glob::addState(States& states, size_t state) const {
  for (;;) {
    if (!states.add(state) || state == tokens_.size()) return;
    switch (tokens_[state].what) {
      case What::run:
      case What::everything: ++state; break;
      case What::folders:
        states.add(state + 1);
        state += 2;
        break;
      default: return;
    }
  }
}

template <class States>
bool Glob::simulate(std::string_view path, bool wholePath) const {
  States now{tokens_.size() + 1};
  States next{tokens_.size() + 1};
  addState(now, 0);
  for (size_t pos = 0; pos < path.size() && !now.empty();) {
    const char32_t c = nextChar(path, pos);
    next.clear();
    now.forEach([&](size_t state) {
      if (state == tokens_.size()) return;
      const Token& token = tokens_[state];
      switch (token.what) {
        case What::literal:
          if (c == token.literal) addState(next, state + 1);
          break;
        case What::one:
          if (c != U'/') addState(next, state + 1);
          break;
        case What::set:
          if (sets_[token.literal].contains(c)) addState(next, state + 1);
          break;
        case What::run:
          if (c != U'/') addState(next, state);
          break;
        case What::everything: addState(next, state); break;
        case What::folders: break;
        case What::inFolders:
          next.add(state);
          if (c == U'/') addState(next, state + 1);
          break;
      }
    });
    std::swap(now, next);
  }
  return wholePath ? now.has(tokens_.size()) : !now.empty();
}

bool Glob::run(std::string_view path, bool wholePath) const {
  return tokens_.size() < 64 ? simulate<SmallStates>(path, wholePath)
                             : simulate<LargeStates>(path, wholePath);
}

bool Glob::matches(std::string_view path) const {
  switch (form_) {
    case Form::exact: return path == text_;
    case Form::suffix: return path.ends_with(text_);
    case Form::automaton: break;
  }
  // Most paths fail at their first or last character; ask that before the automaton.
  if (path.empty()) return run(path, true);
  const Token& last = tokens_.back();
  if (last.what == What::literal && last.literal < 0x80 &&
      path.back() != static_cast<char>(last.literal)) {
    return false;
  }
  const Token& first = tokens_.front();
  if (first.what == What::literal && first.literal < 0x80 &&
      path.front() != static_cast<char>(first.literal)) {
    return false;
  }
  return run(path, true);
}

bool Glob::canMatchBelow(std::string_view folder) const {
  if (form_ == Form::suffix) return true;
  std::string prefix{folder};
  if (!prefix.empty()) prefix.push_back('/');
  if (form_ == Form::exact) return text_.size() > prefix.size() && text_.starts_with(prefix);
  return run(prefix, false);
}

}  // namespace img::parser
