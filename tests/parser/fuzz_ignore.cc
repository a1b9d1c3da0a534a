// Ignore files and wildcards: the walk that may leave folders out, the decision on a whole path and
// the rule it names all agree; a pattern that spells a path decides on it.
#include "parser/chars.h"
#include "parser/glob.h"
#include "parser/ignore.h"
#include "parser/paths.h"
#include "tests/parser/fuzz_targets.h"

namespace img::parser::testing {
namespace {

std::vector<std::string> linesOf(std::string_view text) {
  std::vector<std::string> lines;
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    lines.emplace_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return lines;
}

// As a walk of a folder meets them: relative, nothing of "." and "..".
std::vector<std::string> pathsIn(std::string_view text) {
  std::vector<std::string> paths{"a/b.md/foo", "foo", "src/.x/y"};
  for (const std::string& line : linesOf(text)) {
    const std::string path = cleanPath("/" + line).substr(1);
    if (!path.empty() && path.size() < 200) paths.push_back(path);
  }
  return paths;
}

// What a walk does that skips ignored folders as far as it may.
bool isIgnoredByWalk(const IgnorePatterns& patterns, std::string_view path) {
  auto state = patterns.root();
  for (size_t end = path.find('/'); end != std::string_view::npos; end = path.find('/', end + 1)) {
    state = patterns.enter(state, path.substr(0, end));
    if (state.ignored && !patterns.mayContainException(path.substr(0, end))) return true;
  }
  return patterns.enter(state, path).ignored;
}

void checkDecision(const IgnorePatterns& patterns, const std::string& path) {
  const bool ignored = patterns.isIgnored(path);
  require(isIgnoredByWalk(patterns, path) == ignored, "the walk agrees with the decision");
  const auto rule = patterns.decidingRule(path);
  require(ignored == (rule && !rule->text.starts_with('!')), "the rule agrees with the decision");
  if (patterns.empty()) require(!ignored && !rule, "no pattern, nothing ignored");
}

std::string spelled(std::string_view path) {
  std::string out;
  for (const char c : path) {
    if (std::string_view{"*?[]\\!#"}.find(c) != std::string_view::npos) out += '\\';
    out += c;
  }
  return out;
}

// Later patterns win, so one more at the end that spells the path decides on it.
void checkLastPattern(std::vector<std::string> patterns, const std::string& path) {
  if (trimSpace(path) != path) return;  // blanks around a pattern are no part of it
  patterns.push_back(spelled(path));
  require(IgnorePatterns::compile(patterns).isIgnored(path), "a path spelled out is ignored");
  patterns.back().insert(0, "!");
  require(!IgnorePatterns::compile(patterns).isIgnored(path), "an exception spelled out holds");
  patterns.emplace_back("**");
  require(IgnorePatterns::compile(patterns).isIgnored(path), "** is everything");
}

// dockerfile.md 3.8 by trying everything; classes are left to the tables of the tests.
bool matchesPlainly(std::u32string_view pattern, std::u32string_view path) {
  if (pattern.empty()) return path.empty();
  if (pattern[0] == U'*') {
    if (matchesPlainly(pattern.substr(1), path)) return true;
    return !path.empty() && path[0] != U'/' && matchesPlainly(pattern, path.substr(1));
  }
  if (path.empty()) return false;
  const bool isEscape = pattern[0] == U'\\';
  const char32_t want = pattern[isEscape ? 1 : 0];
  const bool hit = !isEscape && want == U'?' ? path[0] != U'/' : path[0] == want;
  return hit && matchesPlainly(pattern.substr(isEscape ? 2 : 1), path.substr(1));
}

std::u32string decode(std::string_view text) {
  std::u32string out;
  for (size_t pos = 0; pos < text.size();) out += nextChar(text, pos);
  return out;
}

void checkWildcard(const std::string& pattern, const std::string& path) {
  if (pattern.size() > 10 || path.size() > 16) return;
  succeeds([&] {
    const bool matches = matchWildcard(pattern, path);
    if (pattern.find('[') != std::string::npos) return;
    require(matches == matchesPlainly(decode(pattern), decode(path)), "a wildcard matches plainly");
    if (!hasWildcard(pattern) && pattern.find('\\') == std::string::npos)
      require(matches == (pattern == path), "a path without wildcards matches itself");
  });
}

}  // namespace

void fuzzIgnore(std::string_view data) {
  const size_t nul = std::min(data.find('\0'), data.size());
  const std::string_view file = data.substr(0, nul);
  const auto paths = pathsIn(data.substr(std::min(nul + 1, data.size())));
  const auto lines = linesOf(file);
  succeeds([&] {
    const auto patterns = IgnorePatterns::parseFile(file, ".dockerignore");
    for (const std::string& path : paths) checkDecision(patterns, path);
  });
  succeeds([&] {
    const auto patterns = IgnorePatterns::compile(lines);
    for (const std::string& path : paths) {
      checkDecision(patterns, path);
      checkLastPattern(lines, path);
    }
  });
  for (const std::string& pattern : lines) {
    for (const std::string& path : paths) checkWildcard(pattern, path);
  }
}

}  // namespace img::parser::testing
