#include "builder/preflight.h"

#include <map>
#include <tuple>

#include "base/text.h"
#include "builder/add_source.h"
#include "builder/config_step.h"
#include "builder/copy_source.h"
#include "builder/open_mounts.h"
#include "builder/run_settings.h"
#include "parser/value_checks.h"

namespace img::builder {
namespace {

// What a stage would be before an instruction, without its files.
struct StaticStage {
  StageState state;
  // False after a base or an ARG that could not be evaluated: whatever has a variable in it would
  // only repeat that problem in other words.
  bool areVariablesKnown = true;
};

// Whether the outcome of the instruction may depend on variables.
bool hasVariables(const parser::Instruction& syntax) {
  if (syntax.original.find('$') != std::string::npos) return true;
  for (const parser::Heredoc& heredoc : syntax.heredocs) {
    if (heredoc.expand && heredoc.content.find('$') != std::string::npos) return true;
  }
  return false;
}

bool setsVariables(const parser::Step& step) {
  return std::holds_alternative<parser::ArgInstruction>(step.body) ||
         std::holds_alternative<parser::EnvInstruction>(step.body);
}

class StageWalk {
 public:
  StageWalk(const PlannedStage& planned, const Scope& scope, const Context& context,
            Problems& problems)
      : planned_(planned), scope_(scope), context_(context), problems_(problems) {
    total_ = countSteps(planned);
  }

  void run(StaticStage& stage) {
    int number = planned_.baseImage ? 1 : 0;
    for (const parser::Step& step : planned_.steps) {
      if (problems_.isFull()) return;
      step_ = &step;
      stage_ = &stage;
      const bool isCountedStep = isCounted(step);
      number_ = isCountedStep ? ++number : 0;
      if (!stage.areVariablesKnown && hasVariables(step.syntax)) continue;
      const bool isFine = guarded([&] { visit(step); });
      if (!isFine && setsVariables(step)) stage.areVariablesKnown = false;
    }
  }

 private:
  // A problem of the present step, told as the step itself would tell it.
  template <class Work>
  bool guarded(Work&& work) {
    return problems_.attempt([&] {
      try {
        work();
      } catch (Error& error) {
        error.at(positionOf(*scope_.file, step_->syntax));
        if (number_ > 0 && error.stage().empty()) error.stage(stepPlace(planned_, number_, total_));
        throw;
      }
    });
  }

  void visit(const parser::Step& step) {
    if (const auto* run = std::get_if<parser::RunInstruction>(&step.body)) {
      guarded([&] { checkRights(scope_, step.syntax, *run); });
      checkMounts(*run);
    } else if (const auto* copy = std::get_if<parser::CopyInstruction>(&step.body)) {
      checkCopy(*copy);
    } else if (const auto* workdir = std::get_if<parser::WorkdirInstruction>(&step.body)) {
      auto& current = stage_->state.config.workingDir;
      current = joinPath(current, expander().word(workdir->path));
    } else {
      applyConfigStep(step, stage_->state, scope_);
      stage_->state.history.clear();  // of no use here, and copied with every stage
    }
  }

  [[nodiscard]] WordExpander expander() const {
    return {scope_, step_->syntax, stage_->state.variables};
  }

  // For value checks, which know neither keyword nor place.
  template <class Work>
  void checked(std::string_view flag, Work&& work) {
    guarded([&] {
      try {
        work();
      } catch (Error& error) {
        error.prefixCause(step_->syntax.keyword + ": ");
        error.at(positionOf(*scope_.file, step_->syntax, flag));
        throw;
      }
    });
  }

  void checkMounts(const parser::RunInstruction& run) {
    const WordExpander expand = expander();
    for (const std::string& text : run.mounts) {
      guarded([&] { checkMount(text, expand); });
    }
  }

  void checkMount(const std::string& text, const WordExpander& expand) {
    bool isWord = false;  // an error of a word has the keyword already
    const auto word = [&](std::string_view value) {
      isWord = true;
      std::string expanded = expand.word(value);
      isWord = false;
      return expanded;
    };
    parser::RunMount mount;
    try {
      mount = parser::parseRunMount(text, word);
    } catch (Error& error) {
      if (!isWord) error.prefixCause(step_->syntax.keyword + ": ");
      error.at(positionOf(*scope_.file, step_->syntax, "--mount"));
      throw;
    }
    requirePassed(mount, scope_.request->step);
    if (mount.type != parser::RunMount::Type::bind || !mount.from.empty()) return;
    if (context_.root() < 0) return;
    std::ignore = resolveSource(contextRoot(), mount.source, step_->syntax.keyword);
  }

  void checkCopy(const parser::CopyInstruction& copy) {
    const WordExpander expand = expander();
    std::vector<std::string> sources;
    for (const std::string& source : copy.sources) sources.push_back(expand.word(source));
    std::ignore = expand.word(copy.destination);
    for (const auto& file : copy.inlineFiles) {
      if (file.expand) std::ignore = expand.heredoc(file.content);
    }
    if (copy.chown) std::ignore = expand.word(*copy.chown);
    const std::string checksum = copy.checksum ? expand.word(*copy.checksum) : std::string{};
    if (copy.chmod) {
      const std::string mode = expand.word(*copy.chmod);
      if (!mode.empty()) checked("--chmod", [&] { std::ignore = parser::ModeChange::parse(mode); });
    }
    checked("--exclude", [&] { std::ignore = parser::IgnorePatterns::compile(copy.excludes); });
    guarded([&] { std::ignore = remoteSourcesOf(scope_, step_->syntax, copy, sources, checksum); });
    const std::optional<SourceRoot> root = rootOf(copy);
    for (const std::string& source : sources) {
      const bool isLocal = copy.from || classifySource(source) == SourceKind::local;
      if (isLocal && root) guarded([&] { checkSource(*root, copy, source); });
    }
  }

  // A pattern may match nothing, and to know it the tree would have to be walked.
  void checkSource(const SourceRoot& root, const parser::CopyInstruction& copy,
                   const std::string& source) {
    if (parser::hasWildcard(source)) return;
    if (root.fd < 0) {
      throw instructionError(scope_, step_->syntax, "there is no build context to copy from");
    }
    if (copy.isAdd || !copy.parents) {
      std::ignore = resolveSource(root, source, step_->syntax.keyword);
      return;
    }
    // Of `A/./B` the base A is looked up first, as the step does it (3.8).
    const size_t pivot = source.find("/./");
    if (pivot != std::string::npos)
      std::ignore = resolveSource(root, source.substr(0, pivot), step_->syntax.keyword);
    std::ignore = resolveSource(root, source, step_->syntax.keyword);
  }

  // What can be looked into before the first step: the context, or a named one that is a folder.
  [[nodiscard]] std::optional<SourceRoot> rootOf(const parser::CopyInstruction& copy) const {
    if (!copy.from) return contextRoot();
    const auto source = planned_.sources.find(*copy.from);
    const Context* folder =
        source == planned_.sources.end() ? nullptr : source->second.folder.get();
    if (folder == nullptr) return std::nullopt;
    return SourceRoot{folder->root(), true, folder, "the context " + text::quote(*copy.from)};
  }

  [[nodiscard]] SourceRoot contextRoot() const {
    return {context_.root(), true, &context_, "the build context"};
  }

  const PlannedStage& planned_;
  const Scope& scope_;
  const Context& context_;
  Problems& problems_;
  int total_ = 0;
  const parser::Step* step_ = nullptr;
  StaticStage* stage_ = nullptr;
  int number_ = 0;  // of the present step; 0: one that is not counted
};

StaticStage startOf(const PlannedStage& planned, const std::map<int, StaticStage>& done) {
  StaticStage stage;
  if (planned.fromScratch) {
    stage.state = emptyStage({});
  } else if (planned.baseStage) {
    stage = done.at(*planned.baseStage);
    stage.state.config.onBuild.clear();
    stage.state.hasCmd = false;
  } else if (planned.baseImage) {
    stage.state = imageStage(*planned.baseImage);
  } else {
    stage.areVariablesKnown = false;
  }
  return stage;
}

}  // namespace

void preflight(const Plan& plan, const Scope& scope, const Context& context, Problems& problems) {
  std::map<int, StaticStage> done;
  for (const int index : plan.order) {
    const PlannedStage& planned = plan.stages[static_cast<size_t>(index)];
    StaticStage stage = startOf(planned, done);
    StageWalk{planned, scope, context, problems}.run(stage);
    done.emplace(index, std::move(stage));
  }
}

}  // namespace img::builder
