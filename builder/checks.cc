#include "builder/checks.h"

#include <algorithm>

#include "base/text.h"
#include "builder/check_rules.h"
#include "builder/stage_names.h"

namespace img::builder {
namespace {

// The directive, or the build argument instead of it (8.1).
parser::CheckConfig configOf(const parser::Dockerfile& file, const Scope& scope) {
  if (const std::string* given = scope.findBuildArg("BUILDKIT_DOCKERFILE_CHECK")) {
    if (text::trim(*given).empty()) return {};
    try {
      return parser::parseCheckConfig(*given);
    } catch (Error& error) {
      error.prefixCause("build argument BUILDKIT_DOCKERFILE_CHECK: ");
      throw;
    }
  }
  return file.directives.check ? parser::parseCheckConfig(*file.directives.check)
                               : parser::CheckConfig{};
}

// The stages that `stage` uses: its base, COPY --from, mounts, also those of triggers.
std::vector<int> usedStages(const Checking& checking, const CheckedStage& stage) {
  std::vector<int> used;
  if (stage.baseStage) used.push_back(*stage.baseStage);
  const auto add = [&](const parser::Step& step) {
    try {
      for (const std::string& name : sourceNames(step)) {
        if (const auto found = findStage(checking.file, name)) used.push_back(*found);
      }
    } catch (const Error&) {
      // A mount that cannot be read: told where its stage is walked through.
    }
  };
  for (const parser::Step& step : triggersOf(checking, stage)) add(step);
  for (const parser::Step& step : stage.syntax->steps) add(step);
  return used;
}

void findBaseImages(Checking& checking, const ImageFinder& findImage) {
  for (CheckedStage& stage : checking.stages) {
    if (stage.baseStage || stage.fromScratch() || stage.baseName.empty()) continue;
    try {
      stage.baseImage = findImage(stage.baseName);
    } catch (const Error&) {
      // A bad name was told with the FROM lines; a damaged image is the business of a build.
    }
  }
}

}  // namespace

void markNeeded(Checking& checking, int target) {
  std::vector<int> open{target};
  while (!open.empty()) {
    CheckedStage& stage = checking.stages[static_cast<size_t>(open.back())];
    open.pop_back();
    if (stage.isNeeded) continue;
    stage.isNeeded = true;
    for (const int used : usedStages(checking, stage)) open.push_back(used);
  }
}

parser::Lookup MissingNames::lookup() {
  return [this](std::string_view name) {
    const std::string* value = variables_.find(name);
    if (value == nullptr) add(name);
    return value;
  };
}

void MissingNames::add(std::string_view name) {
  if (std::find(names_.begin(), names_.end(), name) == names_.end()) names_.emplace_back(name);
}

void MissingNames::addAll(const std::vector<std::string>& names) {
  for (const std::string& name : names) add(name);
}

std::string suggestion(std::string_view name, const std::vector<std::string>& candidates) {
  constexpr size_t kNearToAnything = 2;  // two changes make any such name of any other
  if (name.size() <= kNearToAnything) return {};
  const auto best = text::suggest(name, candidates);
  return best ? fmt::format(", {}", parser::didYouMean(*best)) : std::string{};
}

std::vector<parser::Step> triggersOf(const Checking& checking, const CheckedStage& stage) {
  std::vector<std::string> texts;
  if (stage.baseStage) {
    for (const auto& step : checking.file.stages[static_cast<size_t>(*stage.baseStage)].steps) {
      if (const auto* onbuild = std::get_if<parser::OnbuildInstruction>(&step.body))
        texts.push_back(onbuild->trigger);
    }
  } else if (stage.baseImage) {
    texts = stage.baseImage->config.onBuild;
  }
  std::vector<parser::Step> steps;
  for (const std::string& text : texts) {
    try {
      steps.push_back(parser::typeInstruction(parser::parseTrigger(text, checking.file.fileName),
                                              checking.file.fileName, checking.file.text));
    } catch (const Error&) {
      // A build refuses it; here it only fails to set variables.
    }
  }
  return steps;
}

CheckReport runChecks(const parser::Dockerfile& file, const Request& request,
                      const CheckOptions& options, const ImageFinder& findImage) {
  Scope scope;
  scope.request = &request;
  scope.file = &file;
  const parser::CheckConfig config = configOf(file, scope);
  Checking checking{file, request, std::move(scope), {config, options.extended}, {}, {}};
  try {
    evaluateGlobals(file, checking.scope);
  } catch (const Error& error) {
    checking.fail(error);
  }
  checkText(checking);
  checkFromLines(checking);
  const int target = findTarget(file, request.target);
  findBaseImages(checking, findImage);
  if (options.allStages && request.target.empty()) {
    for (CheckedStage& stage : checking.stages) stage.isNeeded = true;
  } else {
    markNeeded(checking, target);
  }
  checkStages(checking);
  if (options.extended) checkExtended(checking);

  CheckReport report;
  report.findings = checking.findings.take();
  report.failsBuild = config.error && !report.findings.empty();
  report.error = std::move(checking.error);
  return report;
}

Error warningOf(const parser::Dockerfile& file, const Finding& finding) {
  Error warning{Kind::failed, fmt::format("{}: {}", finding.rule, finding.message)};
  warning.code(std::string{finding.rule});
  warning.at(parser::positionOf({file.text, file.fileName}, finding.lines, finding.token));
  return warning;
}

void reportChecks(const parser::Dockerfile& file, const Request& request, const Plan& plan,
                  Progress& progress) {
  const ImageFinder planned = [&](const std::string& name) -> std::optional<store::Image> {
    for (const PlannedStage& stage : plan.stages) {
      if (stage.baseImage && stage.baseName == name) return stage.baseImage;
    }
    return std::nullopt;
  };
  const CheckReport report = runChecks(file, request, {}, planned);
  std::vector<std::string> rules;
  for (const Finding& finding : report.findings) {
    progress.warning(warningOf(file, finding));
    if (std::find(rules.begin(), rules.end(), finding.rule) == rules.end())
      rules.emplace_back(finding.rule);
  }
  if (!report.failsBuild) return;
  std::sort(rules.begin(), rules.end());
  throw Error{Kind::failed, fmt::format("checks failed: {}", text::join(rules, ", "))};
}

}  // namespace img::builder
