#include "parser/dockerfile.h"

#include <utility>

#include "base/text.h"
#include "parser/chars.h"
#include "parser/typed.h"

namespace img::parser {
namespace {

// Frontends whose language is the one built in here (Q2).
bool isKnownFrontend(std::string_view syntax) {
  const auto words = splitBlanks(syntax);
  std::string_view name = words.empty() ? std::string_view{} : std::string_view{words[0]};
  for (const std::string_view host : {"docker.io/", "index.docker.io/"}) {
    if (name.starts_with(host)) name.remove_prefix(host.size());
  }
  return name.starts_with("docker/dockerfile") || name.starts_with("dockerfile.v0");
}

void warnAboutSyntax(Dockerfile& file) {
  const Directives& directives = file.directives;
  if (!directives.syntax || isKnownFrontend(*directives.syntax)) return;
  const auto words = splitBlanks(*directives.syntax);
  file.warnings.push_back(
      {directives.syntaxLine,
       fmt::format("syntax {} is not supported, using the built-in frontend",
                   text::quote(words.empty() ? *directives.syntax : words[0]))});
}

void warnAboutCommand(Dockerfile& file, const Instruction& syntax) {
  const Instruction& inner = syntax.child.empty() ? syntax : syntax.child.front();
  if (inner.brokenJson) {  // Q7
    file.warnings.push_back(
        {syntax.line, fmt::format("{}: the text begins like a JSON array but is not a valid one; "
                                  "it is taken as shell form",
                                  inner.keyword)});
  }
  const bool takesCommand = inner.keyword == "CMD" || inner.keyword == "ENTRYPOINT";
  if (takesCommand && inner.body.empty()) {  // Q10
    file.warnings.push_back({syntax.line, fmt::format("{}: the command is empty", inner.keyword)});
  }
}

// Sorts the instructions into the global scope and the stages.
void place(Dockerfile& file, Instruction&& syntax, const SourceText& source) {
  warnAboutCommand(file, syntax);
  if (syntax.keyword == "FROM") {
    file.stages.push_back(typeFrom(syntax, source));
    return;
  }
  Body body = typeBody(syntax, source);
  if (!file.stages.empty()) {
    file.stages.back().steps.push_back({std::move(syntax), std::move(body)});
  } else if (syntax.keyword == "ARG") {
    file.globalArgs.push_back({std::move(syntax), std::move(body)});
  } else {
    throw parseFault(
        source, {syntax.line, syntax.endLine},
        fmt::format("{} before the first FROM; only ARG is allowed there", syntax.keyword),
        syntax.written);
  }
}

}  // namespace

std::string heredocText(const Heredoc& heredoc) {
  return heredoc.chomp ? removeLeadingTabs(heredoc.content) : heredoc.content;
}

std::string shellText(const RunInstruction& run) {
  if (run.isHeredocScript) return heredocText(run.heredocs[0]);
  std::string text = run.command.words.at(0);
  for (const Heredoc& heredoc : run.heredocs) text += "\n" + heredoc.content + heredoc.name;
  return text;
}

// The main path: text to syntax, then every instruction typed in file order (dockerfile.md 0.5).
Dockerfile parseDockerfile(std::string_view text, std::string_view name) {
  const SourceText source{text, name};
  Syntax syntax = parseSyntax(text, name);

  Dockerfile file;
  file.fileName = std::string{name};
  file.text = std::string{text};
  file.directives = std::move(syntax.directives);
  warnAboutSyntax(file);
  for (Instruction& instruction : syntax.instructions) {
    place(file, std::move(instruction), source);
  }
  if (file.stages.empty()) {
    throw parseFault(source, {syntax.lineCount, syntax.lineCount},
                     "no FROM instruction, so there is nothing to build");
  }
  return file;
}

Step typeInstruction(Instruction syntax, std::string_view fileName, std::string_view text) {
  Body body = typeBody(syntax, {text, fileName});
  return {std::move(syntax), std::move(body)};
}

}  // namespace img::parser
