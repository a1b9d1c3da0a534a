#include "builder/check_findings.h"

#include <algorithm>
#include <array>
#include <optional>
#include <tuple>

#include "base/error.h"

namespace img::builder {
namespace {

using Kind = CheckRule::Kind;

constexpr std::array<CheckRule, 28> kRules{{
    {"ConsistentInstructionCasing", Kind::normal},
    {"CopyIgnoredFile", Kind::normal},
    {"DuplicateStageName", Kind::normal},
    {"ExposeInvalidFormat", Kind::normal},
    {"ExposeProtoCasing", Kind::normal},
    {"FromAsCasing", Kind::normal},
    {"FromPlatformFlagConstDisallowed", Kind::normal},
    {"InvalidBaseImagePlatform", Kind::normal},
    {"InvalidDefaultArgInFrom", Kind::normal},
    {"InvalidDefinitionDescription", Kind::experimental},
    {"JSONArgsRecommended", Kind::normal},
    {"LegacyKeyValueFormat", Kind::normal},
    {"MaintainerDeprecated", Kind::normal},
    {"MultipleInstructionsDisallowed", Kind::normal},
    {"NoEmptyContinuation", Kind::normal},
    {"RedundantTargetPlatform", Kind::normal},
    {"ReservedStageName", Kind::normal},
    {"SecretsUsedInArgOrEnv", Kind::normal},
    {"StageNameCasing", Kind::normal},
    {"UndefinedArgInFrom", Kind::normal},
    {"UndefinedVar", Kind::normal},
    {"WorkdirRelativePath", Kind::normal},
    {"ImgAddInsteadOfCopy", Kind::extended},
    {"ImgAptListsKept", Kind::extended},
    {"ImgAptUpdateAlone", Kind::extended},
    {"ImgCdHasNoEffect", Kind::extended},
    {"ImgCopyThenChown", Kind::extended},
    {"ImgLatestTag", Kind::extended},
}};

bool holds(const std::vector<std::string>& names, std::string_view name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

// `check=skip=A,B // why` among the comments of an instruction: the text after the first blank is
// a remark, and what is no configuration is an ordinary comment (8.1).
std::optional<parser::CheckConfig> configOf(std::string_view comment) {
  constexpr std::string_view kPrefix = "check=";
  if (!comment.starts_with(kPrefix)) return std::nullopt;
  comment.remove_prefix(kPrefix.size());
  try {
    return parser::parseCheckConfig(comment.substr(0, comment.find_first_of(" \t")));
  } catch (const Error&) {
    return std::nullopt;
  }
}

}  // namespace

std::span<const CheckRule> checkRules() {
  return kRules;
}

bool CheckFindings::isOn(std::string_view rule, const parser::Instruction& at) const {
  const auto known =
      std::find_if(kRules.begin(), kRules.end(), [&](const auto& r) { return r.name == rule; });
  const bool isExperimental = known->kind == Kind::experimental;
  bool skipped = holds(config_.skip, rule) || (config_.skipAll && !isExperimental);
  bool enabled = config_.experimentalAll || holds(config_.experimental, rule);
  for (const std::string& comment : at.comments) {
    const auto local = configOf(comment);
    if (!local) continue;
    skipped |= holds(local->skip, rule) || (local->skipAll && !isExperimental);
    enabled |= local->experimentalAll || holds(local->experimental, rule);
  }
  if (known->kind == Kind::extended && !extended_) return false;
  return !skipped && (enabled || !isExperimental);
}

void CheckFindings::add(std::string_view rule, const parser::Instruction& at, std::string message,
                        std::string_view token) {
  addAt({at.line, at.endLine}, rule, at, std::move(message), token);
}

void CheckFindings::addAt(parser::LineRange lines, std::string_view rule,
                          const parser::Instruction& at, std::string message,
                          std::string_view token) {
  if (!isOn(rule, at)) return;
  findings_.push_back({rule, lines, std::move(message), std::string{token}});
}

std::vector<Finding> CheckFindings::take() {
  const auto place = [](const Finding& f) { return std::tie(f.lines.first, f.rule); };
  std::stable_sort(findings_.begin(), findings_.end(),
                   [&](const Finding& a, const Finding& b) { return place(a) < place(b); });
  std::vector<Finding> unique;
  for (Finding& finding : findings_) {
    const bool isKnown = std::any_of(unique.rbegin(), unique.rend(), [&](const Finding& other) {
      return place(other) == place(finding) && other.message == finding.message;
    });
    if (!isKnown) unique.push_back(std::move(finding));
  }
  findings_.clear();
  return unique;
}

}  // namespace img::builder
