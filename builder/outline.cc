#include "builder/outline.h"

#include <algorithm>
#include <map>

#include "builder/check_rules.h"
#include "builder/stage_names.h"
#include "parser/value_checks.h"

namespace img::builder {
namespace {

// The first comment line that begins with the name; the name is no part of it (1.4).
std::string descriptionOf(const parser::Instruction& instruction, const std::string& name) {
  for (const std::string& comment : instruction.comments) {
    if (comment.starts_with(name + " ")) return comment.substr(name.size() + 1);
  }
  return {};
}

std::string describeStage(const parser::Stage& stage) {
  if (stage.name.empty()) return {};
  const std::string text = descriptionOf(stage.from, stage.name);
  return text.empty() ? descriptionOf(stage.from, stage.from.args[2]) : text;
}

class Outliner {
 public:
  Outliner(const parser::Dockerfile& file, const Request& request)
      : file_(file), checking_{file, request, makeScope(file, request), {{}, false}, {}, {}} {}

  TargetOutline run() {
    const int target = findTarget(file_, checking_.request.target);
    checkFromLines(checking_);
    markNeeded(checking_, target);
    const parser::Stage& stage = file_.stages[static_cast<size_t>(target)];
    outline_.name = stageName(file_, static_cast<size_t>(target));
    outline_.description = describeStage(stage);
    addGlobals();
    for (const CheckedStage& checked : checking_.stages) {
      if (checked.isNeeded) addStage(checked);
    }
    return std::move(outline_);
  }

 private:
  static Scope makeScope(const parser::Dockerfile& file, const Request& request) {
    Scope scope;
    scope.request = &request;
    scope.file = &file;
    evaluateGlobals(file, scope);
    return scope;
  }

  // Names in a word, whether they have a value or not.
  void collectNames(const std::string& word) {
    static const Variables kNone;
    MissingNames names{kNone};
    parser::ExpandOptions options;
    options.escape = file_.directives.escape;
    try {
      std::ignore = parser::expand(word, names.lookup(), options);
    } catch (const Error&) {
      // ${NAME:?...}: the name was looked up before the complaint.
    }
    used_.insert(used_.end(), names.names().begin(), names.names().end());
  }

  // Global ARGs that decide the FROM lines of needed stages, also through other defaults.
  void addGlobals() {
    for (const CheckedStage& stage : checking_.stages) {
      if (!stage.isNeeded) continue;
      collectNames(stage.syntax->baseName);
      if (stage.syntax->platform) collectNames(*stage.syntax->platform);
    }
    // Backwards: a default can only use what stands before it.
    std::vector<std::pair<const parser::Instruction*, const parser::ArgInstruction::Item*>> found;
    for (auto step = file_.globalArgs.rbegin(); step != file_.globalArgs.rend(); ++step) {
      const auto& items = std::get<parser::ArgInstruction>(step->body).items;
      for (auto item = items.rbegin(); item != items.rend(); ++item) {
        if (std::find(used_.begin(), used_.end(), item->name) == used_.end()) continue;
        found.emplace_back(&step->syntax, &*item);
        if (item->value) collectNames(*item->value);
      }
    }
    for (auto arg = found.rbegin(); arg != found.rend(); ++arg) {
      const std::string* value = checking_.scope.globals.find(arg->second->name);
      addArg(*arg->first, arg->second->name,
             value == nullptr ? std::nullopt : std::optional{*value});
    }
  }

  void addStage(const CheckedStage& stage) {
    Variables& variables = variables_[stage.syntax];
    if (stage.baseStage)
      variables = variables_[&file_.stages[static_cast<size_t>(*stage.baseStage)]];
    for (const parser::Step& step : stage.syntax->steps) {
      if (const auto* arg = std::get_if<parser::ArgInstruction>(&step.body)) {
        for (const auto& item : arg->items) addStageArg(step.syntax, item, variables);
      } else if (const auto* env = std::get_if<parser::EnvInstruction>(&step.body)) {
        const Variables before = variables;
        for (const auto& [name, value] : env->pairs) variables.set(name, shown(value, before));
      } else if (const auto* run = std::get_if<parser::RunInstruction>(&step.body)) {
        for (const std::string& mount : run->mounts) addSecret(step.syntax, mount);
      }
    }
  }

  void addStageArg(const parser::Instruction& syntax, const parser::ArgInstruction::Item& item,
                   Variables& variables) {
    std::optional<std::string> value;
    if (const std::string* given = checking_.scope.findBuildArg(item.name)) {
      value = *given;
    } else if (item.value) {
      value = shown(*item.value, variables);
    } else if (const std::string* global = checking_.scope.globals.find(item.name)) {
      value = *global;
    }
    if (value) variables.set(item.name, *value);
    addArg(syntax, item.name, value);
  }

  // What depends on the base image stays as it is written.
  [[nodiscard]] std::string shown(const std::string& word, const Variables& variables) const {
    parser::ExpandOptions options;
    options.escape = file_.directives.escape;
    options.keepUnset = true;
    try {
      return parser::expand(word, variables.lookup(), options).text;
    } catch (const Error&) {
      return word;
    }
  }

  void addArg(const parser::Instruction& syntax, const std::string& name,
              const std::optional<std::string>& value) {
    const std::string description = descriptionOf(syntax, name);
    const auto known = std::find_if(outline_.args.begin(), outline_.args.end(),
                                    [&](const auto& arg) { return arg.name == name; });
    if (known == outline_.args.end()) {
      outline_.args.push_back({name, value, description, syntax.line});
      return;
    }
    if (known->description.empty()) known->description = description;
    if (!known->value) known->value = value;
  }

  void addSecret(const parser::Instruction& syntax, const std::string& text) {
    try {
      const parser::RunMount mount = parser::parseRunMount(text);
      if (mount.type != parser::RunMount::Type::secret) return;
      const auto known = std::find_if(outline_.secrets.begin(), outline_.secrets.end(),
                                      [&](const auto& secret) { return secret.id == mount.id; });
      if (known == outline_.secrets.end()) {
        outline_.secrets.push_back({mount.id, mount.required, syntax.line});
      } else {
        known->required |= mount.required;
      }
    } catch (const Error&) {
      // A mount that only its variables make readable; a build says what is wrong with any other.
    }
  }

  const parser::Dockerfile& file_;
  Checking checking_;
  TargetOutline outline_;
  std::vector<std::string> used_;
  std::map<const parser::Stage*, Variables> variables_;
};

}  // namespace

std::vector<TargetRow> listTargets(const parser::Dockerfile& file) {
  std::vector<TargetRow> rows;
  for (size_t i = 0; i < file.stages.size(); ++i) {
    const parser::Stage& stage = file.stages[i];
    rows.push_back(
        {stageName(file, i), describeStage(stage), stage.baseName, i + 1 == file.stages.size()});
  }
  return rows;
}

TargetOutline outlineTarget(const parser::Dockerfile& file, const Request& request) {
  return Outliner{file, request}.run();
}

}  // namespace img::builder
