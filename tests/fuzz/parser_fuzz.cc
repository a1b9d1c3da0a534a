// One input, three languages: the first byte says whether the rest is a Dockerfile, a word to
// expand or an ignore file. Whatever comes in, the only exception may be img::Error, and what was
// read must be consistent with itself.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "base/error.h"
#include "parser/dockerfile.h"
#include "parser/expand.h"
#include "parser/ignore.h"
#include "parser/print.h"
#include "parser/syntax.h"
#include "parser/value_checks.h"

namespace {

using img::Error;

void require(bool condition) {
  if (!condition) std::abort();
}

template <class Call>
void tolerate(Call call) {
  try {
    call();
  } catch (const Error& error) {
    require(!error.cause().empty());
  }
}

void fuzzDockerfile(std::string_view text) {
  tolerate([&] {
    const auto syntax = img::parser::parseSyntax(text, "Dockerfile");
    int last = 0;
    for (const auto& instruction : syntax.instructions) {
      require(instruction.line > last && instruction.endLine >= instruction.line);
      require(instruction.endLine <= syntax.lineCount);
      last = instruction.endLine;
    }
    require(img::parser::printSyntax(syntax).back() == '\n');
  });
  tolerate([&] {
    const auto file = img::parser::parseDockerfile(text, "Dockerfile");
    require(!file.stages.empty());
    for (const auto& stage : file.stages) {
      for (const auto& step : stage.steps) {
        if (const auto* trigger = std::get_if<img::parser::OnbuildInstruction>(&step.body)) {
          tolerate([&] { img::parser::parseTrigger(trigger->trigger, "trigger"); });
        }
      }
    }
  });
}

void fuzzWord(std::string_view word) {
  const std::string set = "a b*c";
  const std::string empty;
  const auto lookup = [&](std::string_view name) -> const std::string* {
    return name == "A" ? &set : name == "E" ? &empty : nullptr;
  };
  for (const char escape : {'\\', '`'}) {
    for (int bits = 0; bits < 16; ++bits) {
      img::parser::ExpandOptions options;
      options.escape = escape;
      options.rawQuotes = (bits & 1) != 0;
      options.rawEscapes = (bits & 2) != 0;
      options.skipQuotes = (bits & 4) != 0;
      options.keepUnset = (bits & 8) != 0;
      tolerate([&] { img::parser::expand(word, lookup, options); });
      tolerate([&] {
        for (const auto& part : img::parser::expandWords(word, lookup, options)) {
          require(!part.empty());
        }
      });
    }
  }
  tolerate([&] { img::parser::parseRunMount(word); });
  tolerate([&] { img::parser::parseExposeWord(word); });
  tolerate([&] { img::parser::parsePlatform(word); });
  tolerate([&] { img::parser::ModeChange::parse(word).apply(0755, true); });
  tolerate([&] { img::parser::parseDuration(word); });
}

void fuzzIgnore(std::string_view text) {
  tolerate([&] {
    const auto patterns = img::parser::IgnorePatterns::parseFile(text, ".dockerignore");
    const std::string_view path = "a/b.md/foo";
    // The walk may leave out an ignored folder only if nothing below it stays.
    const auto top = patterns.enter(patterns.root(), "a");
    if (top.ignored && !patterns.mayContainException("a")) require(patterns.isIgnored(path));
    const auto rule = patterns.decidingRule(path);
    if (patterns.isIgnored(path)) require(rule && !rule->text.starts_with('!'));
  });
  tolerate([&] { img::parser::matchWildcard(text, "a/b.md"); });
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string_view rest{reinterpret_cast<const char*>(data + 1), size - 1};
  switch (data[0] % 3) {
    case 0: fuzzDockerfile(rest); break;
    case 1: fuzzWord(rest); break;
    default: fuzzIgnore(rest); break;
  }
  return 0;
}
