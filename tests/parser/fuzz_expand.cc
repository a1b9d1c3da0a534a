// Words: what is escaped or quoted comes out as it was, both modes agree, the raw switches keep the
// text, and patterns cut what the plainest matcher cuts.
#include <nlohmann/json.hpp>

#include "parser/chars.h"
#include "parser/expand.h"
#include "parser/pattern.h"
#include "parser/print.h"
#include "tests/parser/fuzz_targets.h"

namespace img::parser::testing {

std::string escapeAll(std::string_view text, char escape) {
  std::string out;
  for (size_t pos = 0; pos < text.size();) {
    const size_t start = pos;
    nextChar(text, pos);
    out += escape;
    out += text.substr(start, pos - start);
  }
  return out;
}

namespace {

const std::string* nothing(std::string_view) {
  return nullptr;
}

std::string withoutSpace(std::string_view text) {
  std::string out;
  for (size_t pos = 0; pos < text.size();) {
    const size_t space = spaceLength(text, pos);
    if (space == 0) out += text[pos];
    pos += std::max<size_t>(space, 1);
  }
  return out;
}

ExpandOptions optionsOf(int bits, char escape) {
  ExpandOptions options;
  options.escape = escape;
  options.rawQuotes = (bits & 1) != 0;
  options.rawEscapes = (bits & 2) != 0;
  options.skipQuotes = (bits & 4) != 0;
  options.keepUnset = (bits & 8) != 0;
  return options;
}

// The same word in both modes, with the same variables and switches.
void checkModes(std::string_view word, const Lookup& lookup, const ExpandOptions& options) {
  std::string whole;
  std::string joined;
  const bool isFine = succeeds([&] {
    const Expansion expansion = expand(word, lookup, options);
    for (const std::string& name : expansion.unset)
      require(!isNameStart(name[0]) || lookup(name) == nullptr, "what is unset is not set");
    whole = expansion.text;
  });
  const bool isFineSplit = succeeds([&] {
    for (const std::string& part : expandWords(word, lookup, options)) {
      require(!part.empty(), "no word is empty");
      joined += part;
    }
  });
  require(isFine == isFineSplit, "both modes accept the same words");
  require(withoutSpace(whole) == withoutSpace(joined), "splitting removes white space only");
}

void checkIdentities(std::string_view text, char escape) {
  const ExpandOptions plain = optionsOf(0, escape);
  require(expand(escapeAll(text, escape), nothing, plain).text == text, "escaped text stays");
  if (text.find('\'') == std::string_view::npos) {
    const std::string quoted = "'" + std::string{text} + "'";
    require(expand(quoted, nothing, plain).text == text, "single quotes keep the text");
  }
  std::string quoted = "\"";
  for (const char c : text) {
    if (c == '"' || c == '$' || c == escape) quoted += escape;
    quoted += c;
  }
  require(expand(quoted + "\"", nothing, plain).text == text, "double quotes keep the text");
  // Everything raw and nothing set: a word is its own expansion.
  succeeds([&] {
    require(expand(text, nothing, optionsOf(1 + 2 + 8, escape)).text == text, "raw text stays");
    require(expand(text, nothing, optionsOf(1 + 2 + 4 + 8, escape)).text == text, "so do bodies");
  });
}

// X4: a line of JSON for every line.
void checkPrinted(std::string_view input, const Lookup& lookup) {
  for (const bool split : {false, true}) {
    const std::string printed = printWords({input, lookup, split, '\\'});
    size_t lines = 0;
    for (size_t pos = 0; pos < printed.size(); ++lines) {
      const size_t end = printed.find('\n', pos);
      const auto value = nlohmann::json::parse(printed.substr(pos, end - pos));
      require(value.is_object() || (split ? value.is_array() : value.is_string()), "X4's types");
      pos = end + 1;
    }
    const auto newlines = static_cast<size_t>(std::count(input.begin(), input.end(), '\n'));
    const size_t expected = newlines + (input.empty() || input.ends_with('\n') ? 0 : 1);
    require(lines == expected, "X4 answers every line");
  }
}

std::u32string decode(std::string_view text) {
  std::u32string out;
  for (size_t pos = 0; pos < text.size();) out += nextChar(text, pos);
  return out;
}

// dockerfile.md 2.3 by trying everything.
bool matchesPlainly(std::u32string_view pattern, std::u32string_view text) {
  if (pattern.empty()) return text.empty();
  if (pattern[0] == U'*') {
    if (matchesPlainly(pattern.substr(1), text)) return true;
    return !text.empty() && text[0] != U'\n' && matchesPlainly(pattern, text.substr(1));
  }
  if (text.empty()) return false;
  const bool isEscape = pattern[0] == U'\\';
  const char32_t want = pattern[isEscape ? 1 : 0];
  const bool hit = !isEscape && want == U'?' ? text[0] != U'\n' : text[0] == want;
  return hit && matchesPlainly(pattern.substr(isEscape ? 2 : 1), text.substr(1));
}

std::string plainlyDropped(std::string_view written, std::string_view value, bool fromEnd,
                           bool longest) {
  const std::u32string pattern = decode(written);
  const std::u32string text = decode(value);
  for (size_t i = 0; i <= text.size(); ++i) {
    const size_t length = longest ? text.size() - i : i;
    const size_t at = fromEnd ? text.size() - length : 0;
    if (!matchesPlainly(pattern, std::u32string_view{text}.substr(at, length))) continue;
    std::string rest;
    for (size_t k = 0; k < text.size(); ++k)
      if (k < at || k >= at + length) appendChar(rest, text[k]);
    return rest;
  }
  return std::string{value};
}

void checkPattern(std::string_view written, std::string_view value) {
  if (written.size() > 10 || value.size() > 16) return;  // trying everything takes long
  succeeds([&] {
    const Pattern pattern = Pattern::compile(written);
    for (const bool longest : {false, true}) {
      require(pattern.dropPrefix(value, longest) == plainlyDropped(written, value, false, longest),
              "# cuts what matches");
      require(pattern.dropSuffix(value, longest) == plainlyDropped(written, value, true, longest),
              "% cuts what matches");
    }
    require(pattern.replace(value, "\x01", true).size() <= 2 * value.size() + 1,
            "no two matches at one place");
  });
}

}  // namespace

void fuzzExpand(std::string_view data) {
  const size_t nul = data.find('\0');
  const std::string value{nul == std::string_view::npos ? "a b*c" : data.substr(0, nul)};
  const std::string_view word = nul == std::string_view::npos ? data : data.substr(nul + 1);
  const std::string empty;
  const Lookup lookup = [&](std::string_view name) -> const std::string* {
    return name == "A" ? &value : name == "E" ? &empty : nullptr;
  };
  for (const char escape : {'\\', '`'}) {
    for (int bits = 0; bits < 16; ++bits) checkModes(word, lookup, optionsOf(bits, escape));
    checkIdentities(word, escape);
  }
  checkPrinted(word, lookup);
  checkPattern(word, value);
}

}  // namespace img::parser::testing
