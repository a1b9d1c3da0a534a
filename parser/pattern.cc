#include "parser/pattern.h"

#include <algorithm>
#include <limits>

#include "base/text.h"
#include "parser/chars.h"
#include "parser/fault.h"

namespace img::parser {
namespace {

// Bounds the work (pattern length times value length); no real pattern comes near.
constexpr size_t kMaxTokens = 4096;
constexpr size_t kNowhere = std::numeric_limits<size_t>::max();

std::u32string decode(std::string_view text) {
  std::u32string out;
  out.reserve(text.size());
  for (size_t pos = 0; pos < text.size();) out.push_back(nextChar(text, pos));
  return out;
}

std::string encode(const std::u32string& text, size_t begin, size_t end) {
  std::string out;
  for (size_t i = begin; i < end; ++i) appendChar(out, text[i]);
  return out;
}

}  // namespace

// All ways to match at once: starts_[s] is the smallest text position from which a match can have
// got to token s. Keeping only the smallest makes the match the leftmost one.
class Pattern::Run {
 public:
  explicit Run(const std::vector<Token>& tokens)
      : tokens_(tokens), starts_(tokens.size() + 1, kNowhere), next_(tokens.size() + 1, kNowhere) {}

  void enter(size_t state, size_t start) { put(starts_, state, start); }
  [[nodiscard]] size_t accepted() const { return starts_[tokens_.size()]; }
  [[nodiscard]] bool isDead() const {
    return std::all_of(starts_.begin(), starts_.end(), [](size_t s) { return s == kNowhere; });
  }
  void forgetLaterThan(size_t start) {
    for (size_t& s : starts_) s = s > start ? kNowhere : s;
  }

  void step(char32_t c) {
    std::fill(next_.begin(), next_.end(), kNowhere);
    for (size_t state = 0; state < tokens_.size(); ++state) {
      if (starts_[state] == kNowhere) continue;
      const Token& token = tokens_[state];
      if (token.what == What::literal ? token.literal == c : c != U'\n') {
        put(next_, token.what == What::any ? state : state + 1, starts_[state]);
      }
    }
    starts_.swap(next_);
  }

 private:
  // Being before `*` is also being after it.
  void put(std::vector<size_t>& into, size_t state, size_t start) {
    for (;; ++state) {
      into[state] = std::min(into[state], start);
      if (state == tokens_.size() || tokens_[state].what != What::any) return;
    }
  }

  const std::vector<Token>& tokens_;
  std::vector<size_t> starts_;
  std::vector<size_t> next_;
};

Pattern Pattern::compile(std::string_view text) {
  Pattern pattern;
  for (size_t pos = 0; pos < text.size();) {
    const size_t start = pos;
    char32_t c = nextChar(text, pos);
    What what = c == U'*' ? What::any : c == U'?' ? What::one : What::literal;
    if (c == U'\\') {
      c = pos < text.size() ? nextChar(text, pos) : U'\0';
      if (std::u32string_view{U"*?\\}/"}.find(c) == std::u32string_view::npos) {
        throw badValue(fmt::format("bad pattern {}: unknown escape {}", text::quote(text),
                                   text::quote(text.substr(start, pos - start))));
      }
    }
    pattern.tokens_.push_back({what, c});
  }
  if (pattern.tokens_.size() > kMaxTokens) {
    throw badValue(
        fmt::format("bad pattern {}: longer than {} characters", text::quote(text), kMaxTokens));
  }
  return pattern;
}

bool Pattern::findAt(const std::vector<Token>& tokens, const std::u32string& text, size_t from,
                     bool anchored, bool longest, Span& found) {
  Run run{tokens};
  bool any = false;
  for (size_t pos = from;; ++pos) {
    if (pos == from || (!anchored && !any)) run.enter(0, pos);
    const size_t start = run.accepted();
    if (start != kNowhere) {
      // From here on only a longer match with the same or a smaller start is of interest.
      if (!any || start <= found.begin) found = {start, pos};
      any = true;
      if (!longest) return true;
      run.forgetLaterThan(found.begin);
    }
    if (pos == text.size()) return any;
    if ((anchored || any) && run.isDead()) return any;
    run.step(text[pos]);
  }
}

std::string Pattern::dropPrefix(std::string_view value, bool longest) const {
  const std::u32string text = decode(value);
  Span found{};
  if (!findAt(tokens_, text, 0, true, longest, found)) return std::string{value};
  return encode(text, found.end, text.size());
}

std::string Pattern::dropSuffix(std::string_view value, bool longest) const {
  std::u32string text = decode(value);
  std::reverse(text.begin(), text.end());
  const std::vector<Token> reversed{tokens_.rbegin(), tokens_.rend()};
  Span found{};
  if (!findAt(reversed, text, 0, true, longest, found)) return std::string{value};
  std::reverse(text.begin(), text.end());
  return encode(text, 0, text.size() - found.end);
}

std::string Pattern::replace(std::string_view value, std::string_view by, bool all) const {
  const std::u32string text = decode(value);
  std::string out;
  size_t copied = 0;
  size_t from = 0;
  size_t lastEnd = kNowhere;
  Span found{};
  while (from <= text.size() && findAt(tokens_, text, from, false, true, found)) {
    const bool isEmpty = found.begin == found.end;
    // As sed does it: no empty match right behind a match.
    if (!isEmpty || found.begin != lastEnd) {
      out += encode(text, copied, found.begin);
      out += by;
      copied = found.end;
      lastEnd = found.end;
      if (!all) break;
    }
    from = isEmpty ? found.end + 1 : found.end;
  }
  return out + encode(text, copied, text.size());
}

}  // namespace img::parser
