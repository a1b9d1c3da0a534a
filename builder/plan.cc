#include "builder/plan.h"

#include <algorithm>
#include <map>
#include <set>

#include "base/text.h"
#include "builder/stage_names.h"
#include "builder/wanted_images.h"
#include "parser/fault.h"
#include "parser/value_checks.h"
#include "store/reference.h"

namespace img::builder {
namespace {

void definePlatform(Variables& globals, const std::string& prefix,
                    const parser::Platform& platform) {
  globals.set(prefix + "PLATFORM", platform.str());
  globals.set(prefix + "OS", platform.os);
  globals.set(prefix + "OSVERSION", platform.osVersion);
  globals.set(prefix + "ARCH", platform.architecture);
  globals.set(prefix + "VARIANT", platform.variant);
}

}  // namespace

void evaluateGlobals(const parser::Dockerfile& file, Scope& scope) {
  const parser::Platform host = parser::hostPlatform();
  const auto& platforms = scope.request->platforms;
  definePlatform(scope.globals, "BUILD", host);
  definePlatform(scope.globals, "TARGET", platforms.empty() ? host : platforms.front());
  std::string target = scope.request->target;
  if (target.empty()) target = file.stages.back().name;
  scope.globals.set("TARGETSTAGE", target.empty() ? "default" : target);
  const std::vector<std::pair<std::string, std::string>> predefined = scope.globals.all();
  for (const auto& [name, value] : predefined) {
    if (const std::string* given = scope.findBuildArg(name)) scope.globals.set(name, *given);
  }
  for (const parser::Step& step : file.globalArgs) {
    for (const auto& item : std::get<parser::ArgInstruction>(step.body).items) {
      const WordExpander expand{scope, step.syntax, scope.globals};
      if (const std::string* given = scope.findBuildArg(item.name)) {
        scope.globals.set(item.name, *given);
      } else if (item.value) {
        scope.globals.set(item.name, expand.word(*item.value));
      }
    }
  }
}

namespace {

class Planner {
 public:
  Planner(const parser::Dockerfile& file, Scope& scope, const ImageFinder& findImage,
          Problems* problems, const ContextFinder& findContext)
      : file_(file),
        scope_(scope),
        findImage_(findImage),
        problems_(problems),
        findContext_(findContext) {}

  Plan run() {
    evaluateGlobals(file_, scope_);
    evaluateFromLines();
    plan_.target = findTarget(file_, scope_.request->target);
    announceImages();
    visit(plan_.target);
    return std::move(plan_);
  }

 private:
  // All FROM lines, also of stages that nobody needs (5.2).
  void evaluateFromLines() {
    for (size_t i = 0; i < file_.stages.size(); ++i) {
      const parser::Stage& syntax = file_.stages[i];
      PlannedStage stage;
      stage.index = static_cast<int>(i);
      stage.syntax = &syntax;
      stage.label = stageName(file_, i);
      if (!guarded([&] { evaluateFrom(stage); })) stage.baseName.clear();
      plan_.stages.push_back(std::move(stage));
    }
  }

  void announceImages() {
    if (!findImage_.expect()) return;
    std::optional<parser::Platform> platform;
    if (!scope_.request->platforms.empty()) platform = scope_.request->platforms.front();
    findImage_.expect()(wantedImages(file_, plan_.stages, plan_.target, platform,
                                     [&](const std::string& name) { return isContext(name); }));
  }

  // What is wrong with a context is said where it is used; it is not looked at a second time, which
  // may find what the first has left.
  [[nodiscard]] bool isContext(const std::string& name) {
    try {
      return findContext(name).has_value();
    } catch (const Error& error) {
      if (error.code() == "interrupted") throw;
      badContexts_.emplace(name, error);
      return true;
    }
  }

  // Runs `work`; what it throws is a problem among others, if they are collected.
  template <class Work>
  bool guarded(Work&& work) {
    if (problems_ != nullptr) return problems_->attempt(work);
    work();
    return true;
  }

  void evaluateFrom(PlannedStage& stage) const {
    const parser::Stage& syntax = *stage.syntax;
    const WordExpander expand{scope_, syntax.from, scope_.globals};
    stage.baseName = expand.word(syntax.baseName);
    if (stage.baseName.empty()) throw withoutValue("image name", syntax.baseName, syntax);
    if (syntax.platform) stage.platform = getPlatform(expand, syntax);
    resolveBase(stage);
  }

  [[nodiscard]] Error withoutValue(std::string_view what, const std::string& word,
                                   const parser::Stage& syntax) const {
    Error error =
        instructionError(scope_, syntax.from,
                         fmt::format("{} {} expands to nothing", what, text::quote(word)), word);
    error.code("arg-unset-in-from");
    error.hint("give the variable a value with --build-arg or with an ARG before the first FROM");
    return error;
  }

  [[nodiscard]] parser::Platform getPlatform(const WordExpander& expand,
                                             const parser::Stage& syntax) const {
    const std::string platform = expand.word(*syntax.platform);
    if (platform.empty()) {
      throw withoutValue("--platform", *syntax.platform, syntax);
    }
    try {
      return parser::parsePlatform(platform);
    } catch (Error& error) {
      error.prefixCause("FROM: ");
      error.at(positionOf(file_, syntax.from, *syntax.platform));
      throw;
    }
  }

  // scratch, then the nearest earlier stage of that name, else an image (looked up when needed).
  void resolveBase(PlannedStage& stage) const {
    if (stage.baseName == "scratch") {
      stage.fromScratch = true;
      return;
    }
    const std::string wanted = text::lower(stage.baseName);
    for (int i = stage.index - 1; i >= 0; --i) {
      if (file_.stages[static_cast<size_t>(i)].name == wanted) {
        stage.baseStage = i;
        return;
      }
    }
  }

  void visit(int index) {
    if (!visited_.insert(index).second) return;
    PlannedStage& stage = plan_.stages[static_cast<size_t>(index)];
    const bool isOther = isReplaced(stage);
    if (isOther) {
      // Its own instructions do not count.
    } else if (stage.baseStage) {
      visit(*stage.baseStage);
      addStageTriggers(stage);
    } else if (!stage.fromScratch && !stage.baseName.empty()) {
      guarded([&] {
        if (const auto context = findContext(stage.baseName))
          return startFrom(stage, *context, stage.baseName);
        stage.baseImage = getImage(stage.baseName, stage.syntax->from, "FROM", stage.platform);
        addTriggers(stage, stage.baseImage->config.onBuild);
      });
    }
    if (!isOther) {
      const std::vector<parser::Step>& own = stage.syntax->steps;
      stage.steps.insert(stage.steps.end(), own.begin(), own.end());
    }
    for (const parser::Step& step : stage.steps) {
      guarded([&] { addSources(stage, step); });
    }
    plan_.order.push_back(index);
  }

  [[nodiscard]] std::optional<NamedContext> findContext(const std::string& name) const {
    if (const auto bad = badContexts_.find(name); bad != badContexts_.end())
      throw Error{bad->second};
    return findContext_ && !name.empty() ? findContext_(name) : std::nullopt;
  }

  // A named context with the name of a stage takes its place, and its instructions with it (5.4).
  bool isReplaced(PlannedStage& stage) {
    bool result = false;
    guarded([&] {
      const auto context = findContext(stage.syntax->name);
      if (!context) return;
      result = true;
      stage.baseStage.reset();
      stage.fromScratch = false;
      stage.baseName = stage.syntax->name;
      startFrom(stage, *context, stage.syntax->name);
    });
    return result;
  }

  // An image is a base; of a folder everything is copied onto an empty one.
  void startFrom(PlannedStage& stage, const NamedContext& context, const std::string& name) {
    if (context.image) {
      stage.baseImage = context.image;
      addTriggers(stage, context.image->config.onBuild);
      return;
    }
    stage.fromScratch = true;
    if (!context.folder) return;
    SourceRef source;
    source.folder = context.folder;
    source.name = name;
    stage.sources.emplace(name, std::move(source));
    parser::CopyInstruction copy;
    copy.sources = {"/"};
    copy.destination = "/";
    copy.from = name;
    parser::Step step;
    step.syntax.keyword = "COPY";
    step.syntax.line = stage.syntax->from.line;
    step.syntax.endLine = stage.syntax->from.endLine;
    step.syntax.original = "COPY --from=" + name + " / /";
    step.body = std::move(copy);
    stage.steps.push_back(std::move(step));
  }

  void addStageTriggers(PlannedStage& stage) {
    std::vector<std::string> triggers;
    for (const parser::Step& step : file_.stages[static_cast<size_t>(*stage.baseStage)].steps) {
      if (const auto* onbuild = std::get_if<parser::OnbuildInstruction>(&step.body))
        triggers.push_back(onbuild->trigger);
    }
    addTriggers(stage, triggers);
  }

  // ONBUILD fires before the stage's own instructions; its place in messages is the FROM line
  // (0.3).
  void addTriggers(PlannedStage& stage, const std::vector<std::string>& triggers) {
    for (const std::string& trigger : triggers) {
      try {
        parser::Instruction syntax = parser::parseTrigger(trigger, file_.fileName);
        syntax.line = stage.syntax->from.line;
        syntax.endLine = stage.syntax->from.endLine;
        syntax.original.insert(0, "ONBUILD ");
        stage.steps.push_back(
            parser::typeInstruction(std::move(syntax), file_.fileName, file_.text));
      } catch (Error& error) {
        error.during("running the trigger {} of {}", text::quote(trigger), stage.baseName);
        throw;
      }
    }
  }

  void addSources(PlannedStage& stage, const parser::Step& step) {
    for (const std::string& name : sourceNames(step)) addSource(stage, step.syntax, name);
  }

  void addSource(PlannedStage& stage, const parser::Instruction& syntax, const std::string& from) {
    if (stage.sources.count(from) != 0) return;
    SourceRef source;
    source.name = from;
    if (const auto index = findStage(file_, from)) {
      if (*index == stage.index) {
        throw instructionError(
            scope_, syntax, fmt::format("stages depend on each other: {} -> {}", from, from), from);
      }
      if (*index > stage.index) {
        throw instructionError(
            scope_, syntax,
            fmt::format("stage {} {}", text::quote(from),
                        syntax.keyword == "RUN" ? "must be defined before it is mounted"
                                                : "is defined later"),
            from);
      }
      source.stage = index;
      visit(*index);
    } else if (const auto context = findContext(from)) {
      source.image = context->image;
      source.folder = context->folder;
    } else if (text::parseUnsigned(from)) {
      throw instructionError(
          scope_, syntax,
          fmt::format("there is no stage {} (0..{})", from, file_.stages.size() - 1), from)
          .code("stage-unknown");
    } else if (from != "scratch") {
      source.image = getImage(from, syntax, syntax.keyword);
    }
    stage.sources.emplace(from, std::move(source));
  }

  // Of FROM --platform, else the target's (3.2, 5.3).
  [[nodiscard]] store::Image getImage(const std::string& name, const parser::Instruction& syntax,
                                      std::string_view keyword,
                                      std::optional<parser::Platform> platform = {}) const {
    if (!platform && !scope_.request->platforms.empty())
      platform = scope_.request->platforms.front();
    std::string full;
    try {
      full = store::Reference::parse(name).full();
    } catch (const Error& error) {
      Error bad = instructionError(scope_, syntax,
                                   fmt::format("bad image reference {}", text::quote(name)), name);
      bad.why(error.cause());
      throw bad;
    }
    try {
      if (auto image = findImage_(name, platform)) return *image;
    } catch (const Error& error) {
      if (error.code() == "image-not-found") failMissing(syntax, keyword, name, error.why());
      if (error.code() == "interrupted") throw;
      if (error.code() != "platform-missing") {
        Error failed = error;
        throw failed.at(positionOf(file_, syntax, name));
      }
      Error missing = instructionError(scope_, syntax,
                                       fmt::format("{} has no image for {}", text::escape(name),
                                                   platform.value_or(parser::hostPlatform()).str()),
                                       name);
      missing.code("base-not-found").why(error.why());
      throw missing;
    }
    failMissing(syntax, keyword, name, "the store has no " + text::escape(full));
  }

  // `tried`: where it was looked for, with the answers.
  [[noreturn]] void failMissing(const parser::Instruction& syntax, std::string_view keyword,
                                const std::string& name, const std::string& tried) const {
    Error error{Kind::notFound, fmt::format("{}: {}: not found", keyword, text::escape(name))};
    error.code("base-not-found");
    error.at(positionOf(file_, syntax, name));
    error.why(tried);
    std::vector<std::string> names{"scratch", "alpine", "busybox", "debian", "fedora",
                                   "golang",  "node",   "python",  "ubuntu"};
    for (const parser::Stage& stage : file_.stages) {
      if (!stage.name.empty()) names.push_back(stage.name);
    }
    if (const auto best = text::suggest(name, names)) error.hint(parser::didYouMean(*best));
    error.hint(
        "`img images` lists what is there; `img load -i FILE` or `img import FILE NAME` brings an "
        "image in");
    throw error;
  }

  const parser::Dockerfile& file_;
  Scope& scope_;
  const ImageFinder& findImage_;
  Problems* problems_;
  const ContextFinder& findContext_;
  Plan plan_;
  std::set<int> visited_;
  std::map<std::string, Error> badContexts_;
};

}  // namespace

std::vector<std::string> sourceNames(const parser::Step& step) {
  std::vector<std::string> names;
  if (const auto* copy = std::get_if<parser::CopyInstruction>(&step.body)) {
    if (copy->from) names.push_back(*copy->from);
  } else if (const auto* run = std::get_if<parser::RunInstruction>(&step.body)) {
    for (const std::string& mount : run->mounts) {
      std::string from = parser::runMountFrom(mount);
      if (!from.empty()) names.push_back(std::move(from));
    }
  }
  return names;
}

Plan planStages(const parser::Dockerfile& file, Scope& scope, const ImageFinder& findImage,
                Problems* problems, const ContextFinder& findContext) {
  return Planner{file, scope, findImage, problems, findContext}.run();
}

bool isCounted(const parser::Step& step) {
  return std::holds_alternative<parser::RunInstruction>(step.body) ||
         std::holds_alternative<parser::CopyInstruction>(step.body) ||
         std::holds_alternative<parser::WorkdirInstruction>(step.body);
}

int countSteps(const PlannedStage& planned) {
  const auto counted = std::count_if(planned.steps.begin(), planned.steps.end(), isCounted);
  return static_cast<int>(counted) + (planned.baseImage ? 1 : 0);
}

std::string stepPlace(const PlannedStage& planned, int number, int total) {
  const std::string step = fmt::format("step {}/{}", number, total);
  return planned.syntax->name.empty() ? step : fmt::format("stage \"{}\", {}", planned.label, step);
}

}  // namespace img::builder
