#include "builder/build.h"

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <ctime>

#include "base/fs.h"
#include "base/log.h"
#include "base/sys.h"
#include "base/text.h"
#include "builder/cache_export.h"
#include "builder/cache_import.h"
#include "builder/checks.h"
#include "builder/config_step.h"
#include "builder/deliver.h"
#include "builder/file_times.h"
#include "builder/foreign_platform.h"
#include "builder/layer_step.h"
#include "builder/named_contexts.h"
#include "builder/preflight.h"
#include "builder/provenance.h"
#include "builder/secret_guard.h"
#include "builder/stage_image.h"
#include "builder/step_runner.h"
#include "builder/trace.h"
#include "builder/unused_args.h"
#include "parser/value_checks.h"
#include "store/images.h"
#include "store/layers.h"
#include "store/unsynced.h"

namespace img::builder {
namespace {

store::Platform targetPlatform(const Request& request) {
  const parser::Platform wanted =
      request.platforms.empty() ? parser::hostPlatform() : request.platforms.front();
  return {wanted.os, wanted.architecture, wanted.variant, wanted.osVersion};
}

// The instruction as one line, variables expanded as far as they are set (dockerfile.md 5.5).
std::string displayText(const Scope& scope, const parser::Instruction& syntax,
                        const Variables& variables) {
  parser::ExpandOptions options;
  options.escape = scope.file->directives.escape;
  options.keepUnset = true;
  options.rawQuotes = true;
  options.rawEscapes = true;
  const bool isExpanded = syntax.keyword != "RUN";
  try {
    if (isExpanded) return parser::expand(syntax.original, variables.lookup(), options).text;
  } catch (const Error&) {
    // A text for people only: what cannot be expanded is shown as written.
  }
  return syntax.original;
}

// What attempts at one build have in common: when a layer of an imported cache turns out to be
// lost, the build starts anew without it.
struct Attempts {
  ImportedCaches& imports;
  Events::Clock::time_point begin;
  std::string buildId;  // of the first one; empty: nothing was told yet
  std::set<int> shown;  // steps
};

class Build {
 public:
  Build(Request request, const parser::Dockerfile& file, const store::Layout& layout,
        Progress& progress, Attempts& attempts)
      : request_(std::move(request)),
        attempts_(attempts),
        file_(file),
        layout_(layout),
        progress_(progress),
        context_(request_.contextDir, {request_.ignoreName, request_.ignoreText},
                 sys::readlinkat(AT_FDCWD, sys::procPath(layout.fd()))),
        cache_(layout),
        provenance_(layout, cache_, request_),
        sealer_(layout, cache_, progress, request_.layerEpoch(), request_.step),
        events_(sealer_, progress) {
    scope_.request = &request_;
    scope_.file = &file;
    sealer_.setTrace(request_.trace);
    if (request_.cacheTtl) cache_.ignoreUntil(::time(nullptr) - *request_.cacheTtl);
    if (context_.root() < 0 || request_.isContextTemporary) return;
    // A digest covers the mode as it counts: the two ways to count are two contexts.
    const std::string cacheName = context_.path() + (request_.hasGitPermissions ? "\ngit" : "");
    workshop_.statCache = &statCache_.emplace(layout, cacheName);
  }

  Result run() {
    Problems problems;
    ImageFinder findImage = ImageFinder::ByPlatform{
        [&](const std::string& name, const auto& platform) { return findFor(name, platform); }};
    if (request_.expectImages)
      findImage.setExpect([&](const auto& images) { expectImages(images); });
    NamedContexts contexts{layout_, request_, findImage, [this] { events_.throwIfInterrupted(); }};
    const Plan plan = planStages(file_, scope_, findImage, &problems,
                                 [&](const std::string& name) { return contexts.find(name); });
    warnAboutUnusedArgs(scope_, plan, progress_);
    reportChecks(file_, request_, plan, progress_);
    preflight(plan, scope_, context_, problems);
    problems.throwIfAny();
    const Outline planned = outline(plan);
    if (attempts_.buildId.empty()) progress_.planned(planned);
    attempts_.buildId = planned.buildId;
    if (request_.timeoutSeconds > 0)
      events_.setTimeout(std::chrono::seconds{request_.timeoutSeconds}, attempts_.begin);
    runStages(plan);
    if (request_.isDryRun) {
      report();
      return result_;
    }
    target_ = plan.target;
    fetchResult();
    // From here on nothing can fail because of the Dockerfile: what is left is our own disk.
    if (statCache_) statCache_->save();
    return finish(states_.at(plan.target));
  }

  // One of several platforms: the names of steps say which (dockerfile.md 5.5).
  void setPlatformPrefix(const parser::Platform& platform) {
    platformPrefix_ = platform.str() + " ";
  }

  // What run() came to.
  [[nodiscard]] BuiltImage image() const {
    BuiltImage image;
    image.platform = targetPlatform(request_);
    image.state = states_.at(target_);
    image.steps = steps_.exported();
    image.cacheMounts = workshop_.cacheMounts;
    // Layers of the base have no time of their own here.
    const auto& layers = image.state.snapshot.layers;
    const auto isOwn = [](const LayerRef& layer) { return !layer->created.empty(); };
    image.baseLayers =
        static_cast<size_t>(std::find_if(layers.begin(), layers.end(), isOwn) - layers.begin());
    return image;
  }

 private:
  [[nodiscard]] std::optional<store::Image> findFor(
      const std::string& name, const std::optional<parser::Platform>& platform) const {
    const std::optional<store::Platform> wanted = storePlatform(platform);
    if (request_.findImage) return request_.findImage(name, wanted);
    return store::Images{layout_, wanted}.find(name);
  }

  void expectImages(const std::vector<WantedImage>& images) const {
    std::vector<Request::NamedPlatform> wanted;
    for (const WantedImage& image : images)
      wanted.emplace_back(image.name, storePlatform(image.platform));
    request_.expectImages(wanted);
  }

  static std::optional<store::Platform> storePlatform(
      const std::optional<parser::Platform>& platform) {
    if (!platform) return std::nullopt;
    return store::Platform{platform->os, platform->architecture, platform->variant,
                           platform->osVersion};
  }

  [[nodiscard]] Outline outline(const Plan& plan) {
    Outline outline;
    outline.buildId = attempts_.buildId.empty() ? fs::randomHex(8) : attempts_.buildId;
    result_.buildId = outline.buildId;
    provenance_.setBuildId(outline.buildId);
    for (const int index : plan.order) {
      const PlannedStage& planned = plan.stages[static_cast<size_t>(index)];
      firstNumber_[index] = outline.steps + 1;
      outline.steps += countSteps(planned);
    }
    for (const PlannedStage& planned : plan.stages) {
      if (firstNumber_.count(planned.index) == 0)
        outline.skippedStages.emplace_back(planned.label, planned.syntax->from.line);
    }
    return outline;
  }

  void runTask(Task<> task) {
    std::vector<Task<>> tasks;
    tasks.push_back(std::move(task));
    events_.run(std::move(tasks));
  }

  // Every stage is a task; a step that needs another stage waits for it.
  void runStages(const Plan& plan) {
    if (!attempts_.imports.isLoaded()) runTask(attempts_.imports.load(events_));
    std::vector<Task<>> stages;
    for (const int index : plan.order) {
      stages.push_back(runStage(plan, plan.stages[static_cast<size_t>(index)]));
    }
    try {
      events_.run(std::move(stages));
      runTask(waitForSeals());
    } catch (Error& error) {
      events_.settle();
      steps_.rememberContents();
      steps_.keepFailure(result_.buildId, error);
      if (error.code() != "interrupted") store::settleHeld(layout_);
      throw;
    } catch (const LayersLost&) {
      events_.settle();
      steps_.rememberContents();
      throw;
    }
    dropFailedSteps(layout_, steps_.succeeded());
    steps_.rememberContents();
  }

  // A result that is only cached needs no files.
  void fetchResult() {
    const OutputRequest& output = request_.output;
    const bool isUsed =
        output.isStored(!request_.names.empty()) || output.squash != OutputRequest::Squash::no ||
        output.layerTimes == OutputRequest::LayerTimes::set ||
        std::any_of(output.outputs.begin(), output.outputs.end(),
                    [](const Output& item) { return item.type != Output::Type::cacheOnly; });
    if (!isUsed) return;
    runTask(fetchMissing(events_, states_.at(target_).snapshot));
    steps_.rememberContents();
  }

  Task<> waitForSeals() {
    co_await events_.until([this] { return sealer_.isIdle(); });
  }

  Task<> waitForStage(int index) {
    co_await events_.until([this, index] { return states_.count(index) != 0; });
  }

  Task<> runStage(const Plan& plan, const PlannedStage& planned) {
    if (planned.baseStage) co_await waitForStage(*planned.baseStage);
    StageState state = startStage(planned);
    const int total = countSteps(planned);
    int number = 0;
    const auto nextLabel = [&] {
      StepLabel label;
      label.number = firstNumber_.at(planned.index) + number;
      label.stage = stageLabel(plan, planned, ++number, total);
      label.stageName = planned.label;
      label.fileName = file_.fileName;
      return label;
    };
    if (planned.baseImage) {
      StepLabel label = nextLabel();
      label.text = "FROM " + planned.baseName;
      label.line = planned.syntax->from.line;
      steps_.showBase(label);
      state.lastStep = label.number;
    }
    for (const parser::Step& step : planned.steps) {
      if (!isCounted(step)) {
        applyConfigStep(step, state, scope_);
        continue;
      }
      StepLabel label = nextLabel();
      label.text =
          withoutSecrets(displayText(scope_, step.syntax, state.variables), request_.step.secrets);
      label.line = step.syntax.line;
      for (const int needed : stagesOf(planned, step)) co_await waitForStage(needed);
      // Named: g++ 12 destroys a temporary aggregate of a co_await expression twice.
      const StepRunner::Call call{planned, step, state, label, stepPlace(planned, number, total)};
      co_await steps_.run(call);
    }
    workshop_.stages[planned.index] = state.snapshot;
    states_.emplace(planned.index, std::move(state));
  }

  StageState startStage(const PlannedStage& planned) {
    if (planned.fromScratch) {
      StageState state = emptyStage(targetPlatform(request_));
      state.snapshot.key = baseKey({});
      return state;
    }
    if (planned.baseStage) {
      StageState state = states_.at(*planned.baseStage);
      state.config.onBuild.clear();
      state.hasCmd = false;
      return state;
    }
    StageState state = imageStage(*planned.baseImage);
    state.snapshot = snapshotOf(*planned.baseImage);
    state.baseName = planned.baseName;
    state.baseDigest = planned.baseImage->manifestDescriptor.digest.str();
    return state;
  }

  std::string stageLabel(const Plan& plan, const PlannedStage& planned, int number,
                         int total) const {
    const std::string name = plan.stages.size() == 1 ? std::string{} : planned.label + " ";
    return fmt::format("{}{}{}/{}", platformPrefix_, name, number, total);
  }

  // File bytes, as `img images` counts them. Of a layer of the base image that is not unpacked only
  // the blob's size is known.
  std::uint64_t logicalSize(const Layer& layer) const {
    const bool isOfBase = layer.created.empty();
    const store::Layers views{layout_};
    return isOfBase && views.has(*layer.diffId) ? views.sizeOf(*layer.diffId) : layer.bytes;
  }

  Result finish(const StageState& state) {
    for (const LayerRef& layer : state.snapshot.layers) {
      result_.bytes += logicalSize(*layer);
      if (layer->isNew) result_.newBytes += layer->bytes;
    }
    result_.wasted = findWaste(newLayers(state), result_.bytes);
    report();
    return result_;
  }

  // Of the target, bottom first.
  [[nodiscard]] std::vector<WasteLayer> newLayers(const StageState& state) {
    const auto& reports = steps_.reports();
    std::vector<WasteLayer> layers;
    for (const LayerRef& layer : state.snapshot.layers) {
      if (!layer->isNew) continue;
      for (const auto& [number, report] : reports) {
        if (report.layer == layer) layers.push_back({layer->folder.get(), report.step.label});
      }
    }
    return layers;
  }

  void report() {
    for (auto& [number, report] : steps_.reports()) {
      if (report.layer) report.step.bytes = report.layer->bytes;
      ++result_.steps;
      if (report.step.isCached) ++result_.cachedSteps;
      result_.reports.push_back(std::move(report.step));
    }
  }

  const Request request_;
  Attempts& attempts_;
  const parser::Dockerfile& file_;
  const store::Layout& layout_;
  Progress& progress_;
  Scope scope_;
  Context context_;
  StepCache cache_;
  Provenance provenance_;
  std::optional<StatCache> statCache_;
  Sealer sealer_;
  Events events_;
  network::NetworkPool networks_{network::Settings::fromEnvironment(request_.runRoot)};
  WorkTrees trees_;
  Workshop workshop_{layout_,   scope_,  context_,
                     nullptr,   events_, progress_,
                     {},        {},      remoteAccess(request_.step),
                     networks_, trees_,  attempts_.imports,
                     {}};
  std::map<int, StageState> states_;  // of finished stages
  std::map<int, int> firstNumber_;    // of the steps of each needed stage
  StepRunner steps_{{request_, workshop_, cache_, provenance_, sealer_, states_, attempts_.imports,
                     attempts_.shown}};
  std::string platformPrefix_;  // of step names
  int target_ = 0;
  Result result_;
};

// dockerfile.md 7.6: build arg and environment come with the request, a global ARG is the last
// source.
Request withEpoch(Request request, const parser::Dockerfile& file) {
  if (request.sourceDateEpoch) return request;
  Scope scope;
  scope.request = &request;
  scope.file = &file;
  evaluateGlobals(file, scope);
  const std::string* value = scope.globals.find("SOURCE_DATE_EPOCH");
  if (value != nullptr && !value->empty())
    request.sourceDateEpoch = *value == "context" ? request.contextTime : parseEpoch(*value);
  return request;
}

void addResult(Result& total, Result part) {
  if (total.buildId.empty()) {
    total = std::move(part);
    return;
  }
  total.reports.insert(total.reports.end(), part.reports.begin(), part.reports.end());
  total.wasted.insert(total.wasted.end(), part.wasted.begin(), part.wasted.end());
  total.steps += part.steps;
  total.cachedSteps += part.cachedSteps;
}

// Where all builds of a request take place.
struct BuildSite {
  const parser::Dockerfile& file;
  const store::Layout& layout;
  Progress& progress;
  bool isOneOfSeveral = false;  // platforms
};

// False: a layer that was counted on is lost, and the next attempt does without it.
bool buildOne(const Request& request, Attempts& attempts, const BuildSite& site, Result& result,
              std::vector<BuiltImage>& images) try {
  Build one{request, site.file, site.layout, site.progress, attempts};
  if (site.isOneOfSeveral) one.setPlatformPrefix(request.platforms.front());
  addResult(result, one.run());
  if (!request.isDryRun) images.push_back(one.image());
  return true;
} catch (const LayersLost&) {
  return false;
}

// One build for each platform: steps that do not depend on it are in the cache for the next one.
Result buildAll(const Request& request, const parser::Dockerfile& file, const store::Layout& layout,
                Progress& progress) {
  checkOutputs(request, layout);
  std::vector<Request> parts{request};
  if (request.platforms.size() > 1) {
    parts.assign(request.platforms.size(), request);
    for (size_t i = 0; i < parts.size(); ++i) parts[i].platforms = {request.platforms[i]};
  }
  const auto begin = Events::Clock::now();
  const auto imports = std::make_shared<ImportedCaches>(layout, request, progress);
  Result result;
  std::vector<BuiltImage> images;
  for (const Request& part : parts) {
    Attempts attempts{*imports, begin, {}, {}};
    while (!buildOne(part, attempts, {file, layout, progress, parts.size() > 1}, result, images))
      imports->restart();
  }
  if (request.isDryRun) return result;
  Trace::Span exporting = Trace::begin(request.trace, "scheduler", "export", "result");
  const Delivered delivered = deliver(layout, request, images, progress);
  if (!request.cacheTo.empty()) exportCaches(layout, request, images, *imports, progress);
  exporting.end();
  store::settleHeld(layout);  // where no name was stored
  result.bytes = delivered.bytes;
  result.newBytes = delivered.newBytes;
  if (request.output.squash != OutputRequest::Squash::no) result.wasted.clear();
  if (delivered.imageId) result.imageId = *delivered.imageId;
  if (delivered.descriptor) {
    result.manifest = delivered.descriptor->digest;
    result.manifestType = delivered.descriptor->mediaType;
  }
  return result;
}

}  // namespace

std::int64_t parseEpoch(const std::string& text) {
  const auto seconds = text::parseUnsigned(text);
  if (!seconds || *seconds > 253402300799ULL) {  // 9999-12-31
    throw Error::make(Kind::failed, "SOURCE_DATE_EPOCH: {} is not a number of seconds",
                      text::quote(text));
  }
  return static_cast<std::int64_t>(*seconds);
}

namespace {

// Each new layer keeps its folders open until the build ends; the usual soft limit of 1024 is there
// for select(2) only. Containers get limits of their own.
void allowManyFiles() {
  rlimit files{};
  if (::getrlimit(RLIMIT_NOFILE, &files) < 0) return;
  files.rlim_cur = files.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &files);
}

}  // namespace

Result build(const Request& request, const store::Layout& layout, Progress& progress) {
  allowManyFiles();
  Trace::Span parsing = Trace::begin(request.trace, "scheduler", "parse", request.dockerfileName);
  const parser::Dockerfile file =
      parser::parseDockerfile(request.dockerfileText, request.dockerfileName);
  parsing.end();
  for (const auto& warning : file.warnings) {
    Error shown{Kind::failed, warning.text};
    Position position;
    position.file = file.fileName;
    position.line = position.endLine = warning.line;
    shown.at(position);
    progress.warning(shown);
  }
  return buildAll(withEpoch(request, file), file, layout, progress);
}

}  // namespace img::builder
