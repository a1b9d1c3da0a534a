// Dockerfiles as a whole: places are in order, what is printed is JSON and says the same, and what
// must not matter (line endings, a byte order mark) does not.
#include <nlohmann/json.hpp>

#include "parser/dockerfile.h"
#include "parser/lines.h"
#include "parser/syntax.h"
#include "parser/words.h"
#include "tests/parser/fuzz_targets.h"

namespace img::parser::testing {
namespace {

// What two spellings of a file must agree on: the tree, or the error and its line.
std::string outcomeOf(std::string_view text) {
  try {
    return printSyntax(parseSyntax(text, "Dockerfile"));
  } catch (const Error& error) {
    require(error.position().has_value(), "an error has a place");
    return fmt::format("{}: {}", error.position()->line, error.cause());
  }
}

std::string withCarriageReturns(std::string_view text) {
  std::string out;
  for (const char c : text) out += c == '\n' ? std::string{"\r\n"} : std::string{c};
  return out;
}

// The delimiter ends its body, so no line of the body can be one.
void checkHeredoc(const Heredoc& heredoc) {
  require(!heredoc.name.empty() && heredoc.name.find('\n') == std::string::npos,
          "a delimiter is a word of one line");
  const std::string text = heredocText(heredoc);
  for (size_t pos = 0; pos < text.size();) {
    const size_t end = std::min(text.find('\n', pos), text.size());
    std::string_view line = std::string_view{text}.substr(pos, end - pos);
    while (line.ends_with('\r')) line.remove_suffix(1);
    require(line != heredoc.name, "no line of a body is its delimiter");
    pos = end + 1;
  }
}

void checkInstruction(const Instruction& instruction) {
  require(instruction.original.find('\n') == std::string::npos, "a logical line is one line");
  for (const std::string& flag : instruction.flags) {
    require(flag.starts_with("--") && flag != "--", "a flag begins with two dashes");
  }
  for (const Heredoc& heredoc : instruction.heredocs) checkHeredoc(heredoc);
}

// A logical line is a Dockerfile of one instruction that means the same.
void checkOriginal(const Instruction& instruction) {
  if (!instruction.heredocs.empty() || instruction.original.starts_with("\xEF\xBB\xBF")) return;
  const Instruction again = parseTrigger(instruction.original, "again");
  require(again.keyword == instruction.keyword && again.flags == instruction.flags &&
              again.args == instruction.args && again.json == instruction.json,
          "the logical line parses to the same instruction");
}

void checkPrinted(const Syntax& syntax) {
  const std::string printed = printSyntax(syntax);
  require(printed.ends_with("]\n") && printed.find('\n') == printed.size() - 1, "X3 is one line");
  const auto tree = nlohmann::json::parse(printed);
  require(tree.size() == syntax.instructions.size(), "X3 has every instruction");
  for (size_t i = 0; i < tree.size(); ++i) {
    const Instruction& instruction = syntax.instructions[i];
    require(tree[i]["line"] == instruction.line && tree[i]["end_line"] == instruction.endLine &&
                tree[i]["args"].size() == instruction.args.size() &&
                tree[i]["heredocs"].size() == instruction.heredocs.size() &&
                tree[i].contains("child") == !instruction.child.empty(),
            "X3 says what was parsed");
  }
}

void checkTriggers(const Dockerfile& file) {
  for (const Stage& stage : file.stages) {
    for (const Step& step : stage.steps) {
      const auto* onbuild = std::get_if<OnbuildInstruction>(&step.body);
      if (onbuild == nullptr || onbuild->trigger.starts_with("\xEF\xBB\xBF")) continue;
      const bool fires = succeeds([&] {
        typeInstruction(parseTrigger(onbuild->trigger, "trigger"), "trigger", onbuild->trigger);
      });
      // Triggers are read with the default escape character, whatever this file's is (3.20).
      require(fires || file.directives.escape != '\\', "an accepted trigger fires (Q24)");
    }
  }
}

void checkSpellings(std::string_view text, bool hasHeredocs) {
  const std::string outcome = outcomeOf(text);
  if (!text.empty() && !text.starts_with("\xEF\xBB\xBF")) {
    require(outcomeOf("\xEF\xBB\xBF" + std::string{text}) == outcome,
            "a byte order mark does not matter");
  }
  // A carriage return is content in a heredoc, and also a blank elsewhere.
  if (!hasHeredocs && text.find('\r') == std::string_view::npos) {
    require(outcomeOf(withCarriageReturns(text)) == outcome, "line endings do not matter");
  }
}

}  // namespace

void fuzzSyntax(std::string_view text) {
  const bool hasHeredocs = text.find("<<") != std::string_view::npos;
  succeeds([&] {
    const Syntax syntax = parseSyntax(text, "Dockerfile");
    require(!syntax.instructions.empty(), "a file without instructions is an error");
    int last = 0;
    for (const Instruction& instruction : syntax.instructions) {
      require(instruction.line > last && instruction.endLine >= instruction.line &&
                  instruction.endLine <= syntax.lineCount,
              "places are in order");
      last = instruction.endLine;
      checkInstruction(instruction);
      if (syntax.directives.escape == '\\') checkOriginal(instruction);
    }
    checkPrinted(syntax);
  });
  checkSpellings(text, hasHeredocs);
  succeeds([&] {
    const Dockerfile file = parseDockerfile(text, "Dockerfile");
    require(!file.stages.empty(), "there is a stage");
    checkTriggers(file);
  });
}

}  // namespace img::parser::testing
