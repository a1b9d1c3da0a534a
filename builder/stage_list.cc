#include "builder/stage_list.h"

#include <algorithm>
#include <set>

#include "base/text.h"
#include "builder/plan.h"
#include "builder/stage_names.h"

namespace img::builder {
namespace {

// FROM means the nearest stage above of that name, never a number.
std::optional<int> baseStage(const parser::Dockerfile& file, int index, const std::string& base) {
  const std::string wanted = text::lower(base);
  for (int i = index - 1; i >= 0; --i) {
    if (file.stages[static_cast<size_t>(i)].name == wanted) return i;
  }
  return std::nullopt;
}

void markNeeded(int index, const std::vector<std::set<int>>& uses, std::vector<StageRow>& rows) {
  StageRow& row = rows[static_cast<size_t>(index)];
  if (row.isNeeded) return;
  row.isNeeded = true;
  for (const int used : uses[static_cast<size_t>(index)]) markNeeded(used, uses, rows);
}

}  // namespace

std::vector<StageRow> listStages(const parser::Dockerfile& file, const Request& request) {
  Scope scope;
  scope.request = &request;
  scope.file = &file;
  evaluateGlobals(file, scope);
  std::vector<StageRow> rows;
  std::vector<std::set<int>> uses;
  for (size_t i = 0; i < file.stages.size(); ++i) {
    const parser::Stage& stage = file.stages[i];
    const int index = static_cast<int>(i);
    StageRow row;
    row.name = stageName(file, static_cast<size_t>(index));
    row.base = WordExpander{scope, stage.from, scope.globals}.word(stage.baseName);
    row.line = stage.from.line;
    std::set<int>& used = uses.emplace_back();
    if (const auto base = baseStage(file, index, row.base)) used.insert(*base);
    for (const parser::Step& step : stage.steps) {
      for (const std::string& from : sourceNames(step)) {
        const auto source = findStage(file, from);
        if (source && *source < index) used.insert(*source);
      }
    }
    for (const int source : used)
      row.depends.push_back(stageName(file, static_cast<size_t>(source)));
    rows.push_back(std::move(row));
  }
  markNeeded(findTarget(file, request.target), uses, rows);
  return rows;
}

}  // namespace img::builder
