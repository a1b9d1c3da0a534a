#include "parser/syntax.h"

#include <array>
#include <utility>

#include "base/text.h"
#include "parser/chars.h"
#include "parser/json_array.h"
#include "parser/lines.h"
#include "parser/words.h"

namespace img::parser {
namespace {

enum class Grammar { words, shellOrJson, pathsOrJson, pairs, argWords, health, onbuild };

struct Known {
  std::string_view keyword;
  Grammar grammar;
};

// All of them (3.1), with the grammar of the body (1.7); the frequent ones first, which is also the
// order in which equally near names are suggested. WORKDIR, USER, STOPSIGNAL and MAINTAINER are
// words here because X3 shows them so; their typed form takes the body as it is.
constexpr std::array<Known, 18> kKnown{{
    {"RUN", Grammar::shellOrJson},
    {"COPY", Grammar::pathsOrJson},
    {"FROM", Grammar::words},
    {"ENV", Grammar::pairs},
    {"ARG", Grammar::argWords},
    {"WORKDIR", Grammar::words},
    {"CMD", Grammar::shellOrJson},
    {"ENTRYPOINT", Grammar::shellOrJson},
    {"LABEL", Grammar::pairs},
    {"EXPOSE", Grammar::words},
    {"ADD", Grammar::pathsOrJson},
    {"USER", Grammar::words},
    {"VOLUME", Grammar::pathsOrJson},
    {"HEALTHCHECK", Grammar::health},
    {"SHELL", Grammar::pathsOrJson},
    {"STOPSIGNAL", Grammar::words},
    {"ONBUILD", Grammar::onbuild},
    {"MAINTAINER", Grammar::words},
}};

const Known* findKnown(std::string_view keyword) {
  for (const Known& known : kKnown) {
    if (known.keyword == keyword) return &known;
  }
  return nullptr;
}

bool takesHeredocs(const Instruction& instruction) {
  const Instruction& inner = instruction.child.empty() ? instruction : instruction.child.front();
  return !inner.json &&
         (inner.keyword == "RUN" || inner.keyword == "COPY" || inner.keyword == "ADD");
}

// Parses the text of one instruction, the ONBUILD child included; knows its place only for errors.
class InstructionParser {
 public:
  InstructionParser(const SourceText& source, LineRange lines, char escape)
      : source_(source), lines_(lines), escape_(escape) {}

  Instruction parse(std::string_view original, int depth = 0) {
    Instruction result;
    result.original = std::string{original};
    result.line = lines_.first;
    result.endLine = lines_.last;

    const std::string_view line = trimSpace(original);
    size_t end = 0;
    while (end < line.size() && !isBlank(line[end])) ++end;
    result.written = std::string{line.substr(0, end)};
    result.keyword = text::upper(result.written);
    FlagSplit split = splitFlags(line.substr(end), escape_);
    result.flags = std::move(split.flags);
    result.body = std::string{split.body};
    parseBody(result, depth);
    return result;
  }

 private:
  void parseBody(Instruction& result, int depth) {
    const Known* known = findKnown(result.keyword);
    if (known == nullptr) return;  // reported once the whole file is lexed (0.5)
    switch (known->grammar) {
      case Grammar::words: result.args = splitBlanks(result.body); break;
      case Grammar::shellOrJson:
        if (!parseJson(result, result.body) && !result.body.empty()) result.args = {result.body};
        break;
      case Grammar::pathsOrJson:
        if (!parseJson(result, result.body)) result.args = splitBlanks(result.body);
        break;
      case Grammar::pairs: parsePairs(result); break;
      case Grammar::argWords: result.args = splitQuotedWords(result.body, escape_); break;
      case Grammar::health: parseHealth(result); break;
      case Grammar::onbuild: parseOnbuild(result, depth); break;
    }
  }

  bool parseJson(Instruction& result, std::string_view text) {
    auto array = parseJsonArray(text);
    if (!array) {
      result.brokenJson = text.starts_with("[\"");
      return false;
    }
    if (array->badElement != 0) {
      throw fault(fmt::format("{}: exec form must be an array of strings (element {} is {})",
                              result.keyword, array->badElement, array->badType));
    }
    result.json = true;
    for (std::string& element : array->strings) result.args.push_back(std::move(element));
    return true;
  }

  void parsePairs(Instruction& result) {
    const std::vector<std::string> words = splitQuotedWords(result.body, escape_);
    if (words.empty()) return;
    if (words[0].find('=') == std::string::npos) return parseLegacyPair(result);
    for (const std::string& word : words) {
      const size_t equals = word.find('=');
      if (equals == std::string::npos) {
        throw fault(
            fmt::format("{}: {} has no \"=\"; use name=value", result.keyword, text::quote(word)),
            word);
      }
      result.args.push_back(word.substr(0, equals));
      result.args.push_back(word.substr(equals + 1));
    }
  }

  // `ENV KEY the rest`
  void parseLegacyPair(Instruction& result) {
    const std::string_view body = result.body;
    size_t end = 0;
    while (end < body.size() && !isBlank(body[end])) ++end;
    size_t start = end;
    while (start < body.size() && isBlank(body[start])) ++start;
    if (start == body.size()) {
      throw fault(fmt::format("{}: needs a name and a value", result.keyword));
    }
    result.args = {std::string{body.substr(0, end)}, std::string{body.substr(start)}};
  }

  void parseHealth(Instruction& result) {
    const std::string_view body = result.body;
    size_t end = 0;
    while (end < body.size() && !isBlank(body[end])) ++end;
    if (end > 0) result.args.emplace_back(body.substr(0, end));
    if (!parseJson(result, trimLeftSpace(body.substr(end)))) result.args = splitBlanks(body);
  }

  void parseOnbuild(Instruction& result, int depth) {
    // ONBUILD ONBUILD is refused later, so one more level is enough to show it.
    if (!result.body.empty() && depth < 2) result.child.push_back(parse(result.body, depth + 1));
  }

  [[nodiscard]] Error fault(std::string message, std::string_view token = {}) const {
    return parseFault(source_, lines_, std::move(message), token);
  }

  SourceText source_;
  LineRange lines_;
  char escape_;
};

void readHeredocs(const SourceText& source, LineReader& reader, Instruction& instruction) {
  if (instruction.original.find("<<") == std::string::npos || !takesHeredocs(instruction)) return;
  instruction.heredocs = findHeredocs(instruction.original);
  for (Heredoc& heredoc : instruction.heredocs) {
    if (!reader.readHeredoc(heredoc)) {
      throw parseFault(source, {instruction.line, reader.lineNumber()},
                       fmt::format("{}: heredoc {} is not terminated", instruction.keyword,
                                   text::quote(heredoc.name)),
                       heredoc.name);
    }
  }
  instruction.endLine = reader.lineNumber();
  for (Instruction& child : instruction.child) child.endLine = instruction.endLine;
}

Instruction readInstruction(const SourceText& source, LineReader& reader, LogicalLine&& logical,
                            char escape) {
  Instruction result = InstructionParser{source, logical.lines, escape}.parse(logical.text);
  result.comments = std::move(logical.comments);
  result.emptyContinuation = logical.emptyContinuation;
  readHeredocs(source, reader, result);
  return result;
}

Error unknownInstruction(const SourceText& source, const Instruction& instruction) {
  Error error =
      parseFault(source, {instruction.line, instruction.endLine},
                 "unknown instruction " + text::quote(instruction.written), instruction.written);
  std::vector<std::string> candidates;
  candidates.reserve(kKnown.size());
  for (const Known& known : kKnown) candidates.emplace_back(known.keyword);
  if (const auto near = text::suggest(instruction.keyword, candidates)) {
    // In the case the user writes in (0.4).
    const bool isLower = text::lower(instruction.written) == instruction.written;
    error.hint(didYouMean(isLower ? text::lower(*near) : *near));
  }
  return error;
}

void checkKeyword(const SourceText& source, const Instruction& instruction) {
  if (findKnown(instruction.keyword) == nullptr) throw unknownInstruction(source, instruction);
  for (const Instruction& child : instruction.child) checkKeyword(source, child);
}

}  // namespace

Syntax parseSyntax(std::string_view text, std::string_view name) {
  const SourceText source{text, name};
  if (text.empty()) throw parseFault(source, {1, 1}, "the Dockerfile is empty");
  LineReader reader{source};
  Syntax syntax;
  syntax.directives = reader.readDirectives();
  while (auto logical = reader.next()) {
    syntax.instructions.push_back(
        readInstruction(source, reader, std::move(*logical), syntax.directives.escape));
  }
  syntax.lineCount = reader.lineNumber();
  if (syntax.instructions.empty()) {
    const int last = std::max(1, syntax.lineCount);
    throw parseFault(source, {last, last}, "no instructions found");
  }
  for (const Instruction& instruction : syntax.instructions) checkKeyword(source, instruction);
  return syntax;
}

Instruction parseTrigger(std::string_view text, std::string_view name) {
  const SourceText source{text, name};
  LineReader reader{source};
  auto logical = reader.next();
  if (!logical) throw parseFault(source, {1, 1}, "no instructions found");
  Instruction result = readInstruction(source, reader, std::move(*logical), '\\');
  checkKeyword(source, result);
  if (const auto more = reader.next()) {
    throw parseFault(source, more->lines, "one instruction expected, found another");
  }
  return result;
}

}  // namespace img::parser
