#include "parser/ignore.h"

#include <algorithm>

#include "parser/chars.h"
#include "parser/fault.h"
#include "parser/glob.h"
#include "parser/paths.h"

namespace img::parser {
namespace {

constexpr size_t kWordBits = 64;

}  // namespace

struct IgnorePatterns::Impl {
  struct Pattern {
    bool exception = false;
    Glob glob;
    Rule rule;
  };
  std::vector<Pattern> patterns;
  bool hasExceptions = false;

  // `text`: trimmed, not empty. Throws without a position.
  void add(std::string_view text, int line);
};

void IgnorePatterns::Impl::add(std::string_view text, int line) {
  Pattern pattern;
  pattern.rule = {line, std::string{text}};
  if (text.starts_with('!')) {
    pattern.exception = true;
    text = trimSpace(text.substr(1));
    if (text.empty()) {
      throw badValue("\"!\" needs a pattern");
    }
  }
  std::string cleaned = cleanPath(text);
  if (cleaned.size() > 1 && cleaned.front() == '/') cleaned.erase(0, 1);
  pattern.glob = Glob::compile(cleaned, Glob::Dialect::ignore);
  hasExceptions = hasExceptions || pattern.exception;
  patterns.push_back(std::move(pattern));
}

IgnorePatterns::IgnorePatterns() : impl_(std::make_unique<Impl>()) {}
IgnorePatterns::IgnorePatterns(IgnorePatterns&&) noexcept = default;
IgnorePatterns& IgnorePatterns::operator=(IgnorePatterns&&) noexcept = default;
IgnorePatterns::~IgnorePatterns() = default;

IgnorePatterns IgnorePatterns::parseFile(std::string_view text, std::string_view fileName) {
  auto impl = std::make_unique<Impl>();
  const std::string_view whole = text;
  if (text.starts_with("\xEF\xBB\xBF")) text.remove_prefix(3);
  int number = 0;
  while (!text.empty()) {
    ++number;
    const size_t end = std::min(text.find('\n'), text.size());
    const std::string_view raw = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    // Only in the first column: " #x" is a pattern.
    if (raw.starts_with('#')) continue;
    const std::string_view line = trimSpace(raw);
    if (line.empty()) continue;
    try {
      impl->add(line, number);
    } catch (Error& error) {
      error.at({std::string{fileName}, number, number, 0, 0, std::string{whole}});
      throw;
    }
  }
  IgnorePatterns result;
  result.impl_ = std::move(impl);
  return result;
}

IgnorePatterns IgnorePatterns::compile(const std::vector<std::string>& patterns) {
  auto impl = std::make_unique<Impl>();
  int number = 0;
  for (const std::string& pattern : patterns) {
    ++number;
    const std::string_view trimmed = trimSpace(pattern);
    if (!trimmed.empty()) impl->add(trimmed, number);
  }
  IgnorePatterns result;
  result.impl_ = std::move(impl);
  return result;
}

bool IgnorePatterns::empty() const {
  return impl_->patterns.empty();
}

IgnorePatterns::State IgnorePatterns::root() const {
  State state;
  state.matched.assign((impl_->patterns.size() + kWordBits - 1) / kWordBits, 0);
  return state;
}

IgnorePatterns::State IgnorePatterns::enter(const State& parent, std::string_view path) const {
  State state{parent.matched, false};
  const auto& patterns = impl_->patterns;
  for (size_t i = 0; i < patterns.size(); ++i) {
    std::uint64_t& word = state.matched[i / kWordBits];
    const std::uint64_t bit = std::uint64_t{1} << (i % kWordBits);
    // Every pattern is asked, also one that cannot change the decision here: it may change the one
    // of a child, for which an earlier exception decides otherwise.
    if ((word & bit) == 0 && !patterns[i].glob.matches(path)) continue;
    word |= bit;
    state.ignored = !patterns[i].exception;
  }
  return state;
}

bool IgnorePatterns::isIgnored(std::string_view path) const {
  if (impl_->patterns.empty()) return false;
  State state = root();
  for (size_t end = path.find('/'); end != std::string_view::npos; end = path.find('/', end + 1)) {
    state = enter(state, path.substr(0, end));
  }
  return enter(state, path).ignored;
}

bool IgnorePatterns::mayContainException(std::string_view folder) const {
  if (!impl_->hasExceptions) return false;
  for (const auto& pattern : impl_->patterns) {
    if (pattern.exception && pattern.glob.canMatchBelow(folder)) return true;
  }
  return false;
}

std::optional<IgnorePatterns::Rule> IgnorePatterns::decidingRule(std::string_view path) const {
  State state = root();
  for (size_t end = path.find('/'); end != std::string_view::npos; end = path.find('/', end + 1)) {
    state = enter(state, path.substr(0, end));
  }
  state = enter(state, path);
  const auto& patterns = impl_->patterns;
  bool ignored = false;
  std::optional<Rule> rule;
  for (size_t i = 0; i < patterns.size(); ++i) {
    const bool matched = ((state.matched[i / kWordBits] >> (i % kWordBits)) & 1) != 0;
    // Only a pattern that changes the state decides anything (4.3).
    if (!matched || patterns[i].exception != ignored) continue;
    ignored = !patterns[i].exception;
    rule = patterns[i].rule;
  }
  return rule;
}

bool matchWildcard(std::string_view pattern, std::string_view path) {
  return Glob::compile(pattern, Glob::Dialect::wildcard).matches(path);
}

bool hasWildcard(std::string_view path) {
  for (size_t pos = 0; pos < path.size(); ++pos) {
    if (path[pos] == '\\') {
      ++pos;
    } else if (path[pos] == '*' || path[pos] == '?' || path[pos] == '[') {
      return true;
    }
  }
  return false;
}

}  // namespace img::parser
