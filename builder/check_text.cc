// Checks that read the file as text: casing, stage names, old forms, descriptions.
#include <fmt/core.h>

#include <algorithm>
#include <set>

#include "base/text.h"
#include "builder/check_rules.h"

namespace img::builder {
namespace {

using text::quote;

enum class Casing { lower, upper, mixed };

Casing casingOf(std::string_view word) {
  if (text::lower(word) == word) return Casing::lower;
  return text::upper(word) == word ? Casing::upper : Casing::mixed;
}

// Every instruction of the file in order.
template <class Visit>
void forEachInstruction(const parser::Dockerfile& file, Visit&& visit) {
  for (const parser::Step& step : file.globalArgs) visit(step.syntax);
  for (const parser::Stage& stage : file.stages) {
    visit(stage.from);
    for (const parser::Step& step : stage.steps) visit(step.syntax);
  }
}

void checkKeywordCasing(Checking& checking) {
  int lower = 0;
  int upper = 0;
  forEachInstruction(checking.file, [&](const parser::Instruction& instruction) {
    const Casing casing = casingOf(instruction.written);
    lower += casing == Casing::lower ? 1 : 0;
    upper += casing == Casing::upper ? 1 : 0;
  });
  const Casing wanted = lower > upper ? Casing::lower : Casing::upper;
  forEachInstruction(checking.file, [&](const parser::Instruction& instruction) {
    if (casingOf(instruction.written) == wanted) return;
    checking.findings.add(
        "ConsistentInstructionCasing", instruction,
        fmt::format("{} should be {} case like the rest of the file", quote(instruction.written),
                    wanted == Casing::lower ? "lower" : "upper"),
        instruction.written);
  });
}

void checkContinuations(Checking& checking) {
  forEachInstruction(checking.file, [&](const parser::Instruction& instruction) {
    if (!instruction.emptyContinuation) return;
    checking.findings.addAt({instruction.endLine, instruction.endLine}, "NoEmptyContinuation",
                            instruction, "empty line inside a continued instruction");
  });
}

// AS and the name as they are written.
void checkAsClause(Checking& checking, const parser::Instruction& from) {
  const std::string& as = from.args[1];
  const std::string& name = from.args[2];
  if (text::lower(name) != name) {
    checking.findings.add("StageNameCasing", from,
                          fmt::format("stage name {} should be lower case", quote(name)), name);
  }
  // A FROM that mixes its case is the business of ConsistentInstructionCasing.
  const Casing casing = casingOf(from.written);
  if (casing != Casing::mixed && casingOf(as) != casing) {
    checking.findings.add(
        "FromAsCasing", from,
        fmt::format("{} does not match the case of {}", quote(as), quote(from.written)), as);
  }
}

void checkStageNames(Checking& checking) {
  std::set<std::string_view> seen;
  for (const parser::Stage& stage : checking.file.stages) {
    if (stage.name.empty()) continue;
    checkAsClause(checking, stage.from);
    const std::string& written = stage.from.args[2];
    if (stage.name == "scratch" || stage.name == "context") {
      checking.findings.add("ReservedStageName", stage.from,
                            fmt::format("{} is a reserved name", quote(written)), written);
    }
    if (!seen.insert(stage.name).second) {
      checking.findings.add("DuplicateStageName", stage.from,
                            fmt::format("stage name {} is used more than once", quote(written)),
                            written);
    }
  }
}

// What stands directly above an instruction describes it; a comment further up is about something
// else.
bool hasCommentAbove(const parser::Dockerfile& file, const parser::Instruction& instruction) {
  std::string_view rest = file.text;
  std::string_view above;
  for (int line = 1; line < instruction.line; ++line) {
    const size_t end = std::min(rest.find('\n'), rest.size() - 1);
    above = rest.substr(0, end);
    rest.remove_prefix(end + 1);
  }
  return text::trim(above).starts_with('#');
}

void checkDescription(Checking& checking, const parser::Instruction& instruction,
                      const std::vector<std::string>& names) {
  const auto comment = std::find_if(instruction.comments.rbegin(), instruction.comments.rend(),
                                    [](const auto& c) { return !c.starts_with("check="); });
  if (comment == instruction.comments.rend()) return;
  const std::string word = comment->substr(0, comment->find(' '));
  if (std::find(names.begin(), names.end(), word) != names.end()) return;
  if (!checking.findings.isOn("InvalidDefinitionDescription", instruction)) return;
  if (!hasCommentAbove(checking.file, instruction)) return;
  checking.findings.add(
      "InvalidDefinitionDescription", instruction,
      fmt::format("describe {} as \"# {} text\"", quote(names[0]), text::escape(names[0])),
      names[0]);
}

void checkDescriptions(Checking& checking) {
  const auto ofArg = [&](const parser::Step& step) {
    const auto* arg = std::get_if<parser::ArgInstruction>(&step.body);
    if (arg == nullptr) return;
    std::vector<std::string> names;
    for (const auto& item : arg->items) names.push_back(item.name);
    checkDescription(checking, step.syntax, names);
  };
  for (const parser::Step& step : checking.file.globalArgs) ofArg(step);
  for (const parser::Stage& stage : checking.file.stages) {
    if (!stage.name.empty())
      checkDescription(checking, stage.from, {stage.name, stage.from.args[2]});
    for (const parser::Step& step : stage.steps) ofArg(step);
  }
}

void checkOldForms(Checking& checking, const parser::Step& step) {
  if (std::holds_alternative<parser::MaintainerInstruction>(step.body)) {
    checking.findings.add("MaintainerDeprecated", step.syntax,
                          "MAINTAINER is deprecated; use LABEL org.opencontainers.image.authors");
  }
  const auto* env = std::get_if<parser::EnvInstruction>(&step.body);
  const auto* label = std::get_if<parser::LabelInstruction>(&step.body);
  if ((env != nullptr && env->legacy) || (label != nullptr && label->legacy)) {
    checking.findings.add("LegacyKeyValueFormat", step.syntax,
                          fmt::format("write {} key=value", step.syntax.keyword));
  }
}

}  // namespace

void checkText(Checking& checking) {
  checkKeywordCasing(checking);
  checkContinuations(checking);
  checkStageNames(checking);
  checkDescriptions(checking);
  for (const parser::Stage& stage : checking.file.stages) {
    for (const parser::Step& step : stage.steps) checkOldForms(checking, step);
  }
}

}  // namespace img::builder
