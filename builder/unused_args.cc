#include "builder/unused_args.h"

#include <algorithm>

#include "base/text.h"

namespace img::builder {
namespace {

bool declares(const std::vector<parser::Step>& steps, const std::string& name) {
  return std::any_of(steps.begin(), steps.end(), [&](const parser::Step& step) {
    const auto* arg = std::get_if<parser::ArgInstruction>(&step.body);
    if (arg == nullptr) return false;
    return std::any_of(arg->items.begin(), arg->items.end(),
                       [&](const auto& item) { return item.name == name; });
  });
}

bool isDeclared(const parser::Dockerfile& file, const Plan& plan, const std::string& name) {
  return declares(file.globalArgs, name) ||
         std::any_of(file.stages.begin(), file.stages.end(),
                     [&](const auto& stage) { return declares(stage.steps, name); }) ||
         std::any_of(plan.stages.begin(), plan.stages.end(),
                     [&](const auto& stage) { return declares(stage.steps, name); });
}

// dockerfile.md 3.3.1, and the predefined platform arguments.
bool hasMeaning(const Scope& scope, const std::string& name) {
  if (name == "SOURCE_DATE_EPOCH" || name.starts_with("BUILDKIT_")) return true;
  if (text::lower(name).ends_with("_proxy")) return true;
  return scope.globals.find(name) != nullptr;
}

}  // namespace

void warnAboutUnusedArgs(const Scope& scope, const Plan& plan, Progress& progress) {
  std::vector<std::string> unused;
  for (const auto& [name, value] : scope.request->buildArgs) {
    if (!isDeclared(*scope.file, plan, name) && !hasMeaning(scope, name)) unused.push_back(name);
  }
  if (unused.empty()) return;
  progress.warning(Error{Kind::failed, fmt::format("build argument {} is not declared by any ARG",
                                                   text::escape(text::join(unused, ", ")))});
}

}  // namespace img::builder
