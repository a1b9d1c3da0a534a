#include "parser/words.h"

#include <utility>

#include "base/error.h"
#include "parser/chars.h"
#include "parser/expand.h"

namespace img::parser {
namespace {

// Reads one flag word from `pos` and moves past it.
std::string readFlagWord(std::string_view rest, size_t& pos, char escape) {
  std::string word;
  char quote = '\0';
  for (; pos < rest.size(); ++pos) {
    const char c = rest[pos];
    if (c == escape) {
      if (++pos < rest.size()) word.push_back(rest[pos]);
      if (pos >= rest.size()) break;
    } else if (quote != '\0') {
      if (c == quote) {
        quote = '\0';
      } else {
        word.push_back(c);
      }
    } else if (c == '\'' || c == '"') {
      quote = c;
    } else if (isBlank(c) || c == '\n') {
      break;
    } else {
      word.push_back(c);
    }
  }
  return word;
}

const std::string* noVariables(std::string_view) {
  return nullptr;
}

// The words of a heredoc delimiter, quotes removed or kept; empty when it does not lex.
std::vector<std::string> lexDelimiter(std::string_view text, bool rawQuotes) {
  ExpandOptions options;
  options.keepUnset = true;
  options.rawQuotes = rawQuotes;
  try {
    return expandWords(text, noVariables, options);
  } catch (const Error&) {
    return {};
  }
}

size_t countQuotes(std::string_view text) {
  size_t count = 0;
  for (const char c : text) count += c == '\'' || c == '"' ? 1 : 0;
  return count;
}

}  // namespace

FlagSplit splitFlags(std::string_view rest, char escape) {
  FlagSplit result;
  size_t pos = 0;
  for (;;) {
    while (pos < rest.size() && spaceLength(rest, pos) != 0) pos += spaceLength(rest, pos);
    if (rest.substr(pos, 2) != "--") break;
    std::string word = readFlagWord(rest, pos, escape);
    if (word == "--") break;
    result.flags.push_back(std::move(word));
  }
  result.body = trimSpace(rest.substr(pos));
  return result;
}

std::vector<std::string> splitQuotedWords(std::string_view body, char escape) {
  std::vector<std::string> words;
  std::string word;
  char quote = '\0';
  for (size_t pos = 0; pos < body.size();) {
    const char c = body[pos];
    const size_t space = quote == '\0' ? spaceLength(body, pos) : 0;
    if (space != 0) {
      if (!word.empty()) words.push_back(std::exchange(word, {}));
      pos += space;
      continue;
    }
    ++pos;
    if (c == escape && quote != '\'') {
      if (pos == body.size()) break;  // an escape character at the end is dropped
      word.push_back(c);
      word.push_back(body[pos++]);
      continue;
    }
    if (c == quote) {
      quote = '\0';
    } else if (quote == '\0' && (c == '\'' || c == '"')) {
      quote = c;
    }
    word.push_back(c);
  }
  if (!word.empty()) words.push_back(std::move(word));
  return words;
}

std::optional<Heredoc> parseHeredocMarker(std::string_view word) {
  Heredoc heredoc;
  size_t pos = 0;
  while (pos < word.size() && isDigit(word[pos])) ++pos;
  heredoc.fd = std::string{word.substr(0, pos)};
  if (word.substr(pos, 2) != "<<") return std::nullopt;
  pos += 2;
  if (pos < word.size() && word[pos] == '-') {
    heredoc.chomp = true;
    ++pos;
  }
  const std::string_view rest = trimLeftSpace(word.substr(pos));
  if (rest.empty() || rest.find('<') != std::string_view::npos) return std::nullopt;

  const std::vector<std::string> words = lexDelimiter(rest, false);
  if (words.size() != 1) return std::nullopt;
  const std::vector<std::string> raw = lexDelimiter(rest, true);
  if (raw.size() != 1) return std::nullopt;
  // A removed quote is what makes it "quoted"; an escaped one stays and does not count.
  heredoc.expand = countQuotes(words[0]) == countQuotes(raw[0]);
  heredoc.name = words[0];
  return heredoc;
}

std::vector<Heredoc> findHeredocs(std::string_view line) {
  std::vector<Heredoc> found;
  ExpandOptions options;
  options.keepUnset = true;
  options.rawQuotes = true;
  options.rawEscapes = true;
  std::vector<std::string> words;
  try {
    words = expandWords(line, noVariables, options);
  } catch (const Error&) {
    return found;  // for example an unbalanced quote: then "<<" means nothing to us
  }
  for (const std::string& word : words) {
    if (auto heredoc = parseHeredocMarker(word)) found.push_back(std::move(*heredoc));
  }
  return found;
}

}  // namespace img::parser
