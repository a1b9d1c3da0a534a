#include "builder/stage_names.h"

#include "base/error.h"
#include "base/text.h"
#include "parser/fault.h"

namespace img::builder {

std::optional<int> findStage(const parser::Dockerfile& file, const std::string& name) {
  const std::string wanted = text::lower(name);
  for (size_t i = file.stages.size(); i-- > 0;) {
    if (file.stages[i].name == wanted) return static_cast<int>(i);
  }
  const auto number = text::parseUnsigned(name);
  if (number && *number < file.stages.size()) return static_cast<int>(*number);
  return std::nullopt;
}

std::string stageName(const parser::Dockerfile& file, size_t index) {
  const std::string& name = file.stages[index].name;
  return name.empty() ? fmt::format("stage-{}", index) : name;
}

int findTarget(const parser::Dockerfile& file, const std::string& target) {
  if (target.empty()) return static_cast<int>(file.stages.size()) - 1;
  if (const auto stage = findStage(file, target)) return *stage;
  std::vector<std::string> names;
  for (const parser::Stage& stage : file.stages) {
    if (!stage.name.empty()) names.push_back(stage.name);
  }
  Error error{Kind::failed, fmt::format("no stage named {}", text::quote(target))};
  error.code("stage-unknown");
  if (const auto best = text::suggest(text::lower(target), names))
    error.hint(parser::didYouMean(*best));
  error.hint(names.empty() ? "the Dockerfile names no stage"
                           : fmt::format("the stages are: {}", text::join(names, ", ")));
  throw error;
}

}  // namespace img::builder
