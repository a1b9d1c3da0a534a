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
#include "builder/checks.h"
#include "builder/config_step.h"
#include "builder/deliver.h"
#include "builder/foreign_platform.h"
#include "builder/layer_step.h"
#include "builder/named_contexts.h"
#include "builder/preflight.h"
#include "builder/provenance.h"
#include "builder/secret_guard.h"
#include "builder/stage_image.h"
#include "builder/step_locks.h"
#include "builder/trace.h"
#include "builder/unused_args.h"
#include "parser/value_checks.h"
#include "store/images.h"
#include "store/layers.h"

namespace img::builder {
namespace {

std::string currentTime() {
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME, &now);
  return text::formatTime(now.tv_sec, now.tv_nsec);
}

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

constexpr std::chrono::milliseconds kFirstLockDelay{2}, kMaxLockDelay{50};

// Other stages that a step copies or mounts from.
std::vector<int> stagesOf(const PlannedStage& planned, const parser::Step& step) {
  std::vector<int> stages;
  for (const std::string& name : sourceNames(step)) {
    const SourceRef& source = planned.sources.at(name);
    if (source.stage) stages.push_back(*source.stage);
  }
  return stages;
}

class Build {
 public:
  Build(Request request, const parser::Dockerfile& file, const store::Layout& layout,
        Progress& progress)
      : request_(std::move(request)),
        file_(file),
        layout_(layout),
        progress_(progress),
        context_(request_.contextDir, {request_.ignoreName, request_.ignoreText},
                 sys::readlinkat(AT_FDCWD, sys::procPath(layout.fd()))),
        cache_(layout),
        locks_(layout),
        provenance_(layout, cache_, request_),
        sealer_(layout, cache_, progress, request_.layerEpoch(), request_.step),
        events_(sealer_, progress) {
    scope_.request = &request_;
    scope_.file = &file;
    sealer_.setTrace(request_.trace);
    maxJobs_ = request_.jobs > 0 ? request_.jobs
                                 : static_cast<int>(std::max(1L, ::sysconf(_SC_NPROCESSORS_ONLN)));
    if (request_.cacheTtl) cache_.ignoreUntil(::time(nullptr) - *request_.cacheTtl);
    if (context_.root() < 0 || request_.isContextTemporary) return;
    // A digest covers the mode as it counts: the two ways to count are two contexts.
    const std::string cacheName = context_.path() + (request_.hasGitPermissions ? "\ngit" : "");
    workshop_.statCache = &statCache_.emplace(layout, cacheName);
  }

  Result run() {
    Problems problems;
    const ImageFinder findImage = ImageFinder::ByPlatform{[&](const std::string& name, const auto& platform) { return findFor(name, platform); }};
    NamedContexts contexts{layout_, request_, findImage, [this] { events_.throwIfInterrupted(); }};
    const Plan plan = planStages(file_, scope_, findImage, &problems,
                                 [&](const std::string& name) { return contexts.find(name); });
    warnAboutUnusedArgs(scope_, plan, progress_);
    reportChecks(file_, request_, plan, progress_);
    preflight(plan, scope_, context_, problems);
    problems.throwIfAny();
    progress_.planned(outline(plan));
    if (request_.timeoutSeconds > 0)
      events_.setTimeout(std::chrono::seconds{request_.timeoutSeconds});
    runStages(plan);
    if (request_.isDryRun) {
      report();
      return result_;
    }
    // From here on nothing can fail because of the Dockerfile: what is left is our own disk.
    if (statCache_) statCache_->save();
    target_ = plan.target;
    return finish(states_.at(plan.target));
  }

  // What run() came to.
  [[nodiscard]] BuiltImage image() const {
    BuiltImage image;
    image.platform = targetPlatform(request_);
    image.state = states_.at(target_);
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
    std::optional<store::Platform> wanted;
    if (platform) {
      wanted = store::Platform{platform->os, platform->architecture, platform->variant,
                               platform->osVersion};
    }
    return store::Images{layout_, wanted}.find(name);
  }

  [[nodiscard]] Outline outline(const Plan& plan) {
    Outline outline;
    outline.buildId = result_.buildId = fs::randomHex(8);
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

  // Every stage is a task; a step that needs another stage waits for it.
  void runStages(const Plan& plan) {
    std::vector<Task<>> stages;
    for (const int index : plan.order) {
      stages.push_back(runStage(plan, plan.stages[static_cast<size_t>(index)]));
    }
    try {
      events_.run(std::move(stages));
    } catch (Error& error) {
      events_.settle();
      keepFailure(error);
      throw;
    }
    dropFailedSteps(layout_, succeeded_);
    std::vector<Task<>> seals;
    seals.push_back(waitForSeals());
    events_.run(std::move(seals));
  }

  // An interrupted build has no failed step, and one whose lower layers could not be sealed none
  // that anybody could enter.
  void keepFailure(Error& error) {
    if (!failure_ || !sealer_.isIdle()) return;
    FailedStep& step = failure_->step;
    try {
      copyFromFailedStep(layout_, failure_->below.snapshot, step.layer, request_.failureCopies);
    } catch (const Error& trouble) {
      progress_.warning(trouble);
    }
    const std::vector<LayerRef>& below = failure_->below.snapshot.layers;
    const bool isSealed = std::all_of(below.begin(), below.end(),
                                      [](const LayerRef& layer) { return layer->descriptor; });
    if (!request_.keepsFailedStep || !isSealed) return;
    try {
      step.base = writeStageImage(layout_, failure_->below, request_, progress_);
      keepFailedStep(layout_, step);
      error.hint(fmt::format("look around in the failed step: img debug {}", step.buildId));
    } catch (const Error& trouble) {
      progress_.warning(trouble);
    }
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
    if (planned.baseImage) state.lastStep = showBase(planned, nextLabel());
    for (const parser::Step& step : planned.steps) {
      if (!isCounted(step)) {
        applyConfigStep(step, state, scope_);
        continue;
      }
      StepLabel label = nextLabel();
      label.text = withoutSecrets(displayText(scope_, step.syntax, state.variables),
                                  request_.step.secrets);
      label.line = step.syntax.line;
      for (const int needed : stagesOf(planned, step)) co_await waitForStage(needed);
      co_await runStep(planned, step, state, label);
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
    if (plan.stages.size() == 1) return fmt::format("{}/{}", number, total);
    return fmt::format("{} {}/{}", planned.label, number, total);
  }

  int showBase(const PlannedStage& planned, StepLabel label) {
    label.text = "FROM " + planned.baseName;
    label.line = planned.syntax->from.line;
    progress_.stepCached(label);
    Report& report = reports_[label.number];
    report.step.label = std::move(label);
    report.step.isCached = true;
    return report.step.label.number;
  }

  // `stage "build", step 4/9`
  [[nodiscard]] std::string placeIn(const PlannedStage& planned, const StepLabel& label) const {
    const int number = label.number - firstNumber_.at(planned.index) + 1;
    return stepPlace(planned, number, countSteps(planned));
  }

  Task<> runStep(const PlannedStage& planned, const parser::Step& step, StageState& state,
                 const StepLabel& label) {
    Report& report = reports_[label.number];
    report.step.label = label;
    const auto begin = Events::Clock::now();
    try {
      co_await makeLayer(planned, step, state, label);
    } catch (const Cancelled&) {
      progress_.stepFailed(label, "cancelled");
      throw;
    } catch (Error& error) {
      progress_.stepFailed(label, error.cause());
      error.at(positionOf(file_, step.syntax));
      if (error.stage().empty()) error.stage(placeIn(planned, label));
      throw;
    }
    report.step.seconds = std::chrono::duration<double>(Events::Clock::now() - begin).count();
  }

  // On the way from a step to its layer.
  struct Attempt {
    LayerRef layer;                    // found or made
    std::optional<Digest> contentKey;  // once computed
    StepLock lock;                     // ours to execute the step
    bool isLookedUp = true;            // false: --no-cache
    Position place;                    // of the instruction
    std::string stage;                 // `stage "build", step 4/9`
    // Of a step that is not found.
    std::shared_ptr<InputRecord> record;
    Explanation why;
  };

  Task<> makeLayer(const PlannedStage& planned, const parser::Step& step, StageState& state,
                   const StepLabel& label) {
    std::optional<LayerStep> job = prepare(planned, step, state, label);
    if (!job) {  // WORKDIR /
      recordHistory(state, "WORKDIR /");
      reports_.at(label.number).step.isCached = true;
      progress_.stepCached(label);
      co_return;
    }
    noteNeeds(planned, step, state, label);
    if (job->lateKey && areInputsKnown(planned, step)) job->key = co_await job->lateKey();
    co_await stopAt(request_.debug.beforeLine, step, *job, state, "before");
    Attempt attempt;
    attempt.place = positionOf(file_, step.syntax);
    attempt.stage = placeIn(planned, label);
    attempt.isLookedUp = isCacheUsed(planned);
    if (request_.isDryRun) {
      co_await lookUpOnly(planned, step, *job, attempt, state, label);
    } else if (attempt.isLookedUp) {
      co_await lookUpOrLock(*job, attempt, state, label);
    } else if (job->contentKey) {
      attempt.contentKey = co_await job->contentKey();
    }
    if (!attempt.layer) explain(planned, step, *job, attempt, state, label);
    state.lastStep = label.number;
    state.isOnBase = false;
    if (request_.isDryRun && !attempt.layer) {
      markUnknown(state, *job);
      co_return;
    }
    if (!attempt.layer) co_await execute(*job, attempt, state, label);
    reports_.at(label.number).layer = attempt.layer;
    state.snapshot.layers.push_back(attempt.layer);
    recordHistory(state, job->createdBy, attempt.layer);
    co_await stopAt(request_.debug.afterLine, step, *job, state, "after");
  }

  void noteNeeds(const PlannedStage& planned, const parser::Step& step, const StageState& state,
                 const StepLabel& label) {
    std::vector<int>& needs = reports_.at(label.number).step.needs;
    if (state.lastStep > 0) needs.push_back(state.lastStep);
    for (const int stage : stagesOf(planned, step)) {
      if (states_.at(stage).lastStep > 0) needs.push_back(states_.at(stage).lastStep);
    }
  }

  // False only in a dry run: a stage that the step copies or mounts from would have to run first.
  [[nodiscard]] bool areInputsKnown(const PlannedStage& planned, const parser::Step& step) const {
    const std::vector<int> sources = stagesOf(planned, step);
    return std::none_of(sources.begin(), sources.end(),
                        [&](int stage) { return states_.at(stage).isUnknown; });
  }

  // A dry run takes no lock and waits for nobody. What a stage would consist of that has to run
  // first is not known.
  Task<> lookUpOnly(const PlannedStage& planned, const parser::Step& step, LayerStep& job,
                    Attempt& attempt, StageState& state, const StepLabel& label) {
    const bool isKnown = areInputsKnown(planned, step) && (!state.isUnknown || job.isIndependent);
    if (isKnown) reports_.at(label.number).step.key = job.key;
    if (!isKnown || !attempt.isLookedUp) co_return;
    attempt.layer = lookUp(job, job.key, state, label);
    if (attempt.layer || !job.contentKey) co_return;
    attempt.contentKey = co_await job.contentKey();
    attempt.layer = lookUp(job, *attempt.contentKey, state, label);
  }

  static void markUnknown(StageState& state, const LayerStep& job) {
    Hasher hasher = startKey("unknown", job.key);
    state.snapshot.key = hasher.finish();
    state.isUnknown = true;
  }

  void explain(const PlannedStage& planned, const parser::Step& step, const LayerStep& job,
               Attempt& attempt, const StageState& state, const StepLabel& label) {
    attempt.record =
        std::make_shared<InputRecord>(provenance_.describe(planned, step, state, label, job));
    std::vector<Digest> keys;
    if (attempt.isLookedUp) keys = keysOf(job, attempt);
    attempt.why = provenance_.explain(*attempt.record, keys, state);
    StepReport& report = reports_.at(label.number).step;
    report.reason = attempt.why.miss.text;
    report.explanation = attempt.why;
  }

  static std::vector<Digest> keysOf(const LayerStep& job, const Attempt& attempt) {
    std::vector<Digest> keys{job.key};
    if (attempt.contentKey) keys.push_back(*attempt.contentKey);
    return keys;
  }

  // Finds the layer, or comes back with the lock. While another build executes the same step we
  // wait for its result.
  Task<> lookUpOrLock(LayerStep& job, Attempt& attempt, StageState& state, const StepLabel& label) {
    attempt.layer = lookUp(job, job.key, state, label);
    if (attempt.layer) co_return;
    if (job.contentKey) attempt.contentKey = co_await job.contentKey();
    const Digest& key = attempt.contentKey ? *attempt.contentKey : job.key;
    Trace::Span waiting;
    for (auto delay = kFirstLockDelay;; delay = std::min(2 * delay, kMaxLockDelay)) {
      attempt.lock = locks_.tryLock(key);
      // Looked up with the lock, too: whoever had it before us may have made the layer.
      attempt.layer = lookUp(job, key, state, label);
      if (attempt.layer || attempt.lock) co_return;
      if (delay == kFirstLockDelay)
        waiting = Trace::begin(request_.trace, "lock", "lock", "another build runs this step");
      co_await events_.pause(delay);
    }
  }

  std::optional<LayerStep> prepare(const PlannedStage& planned, const parser::Step& step,
                                   StageState& state, const StepLabel& label) {
    if (std::holds_alternative<parser::RunInstruction>(step.body)) {
      return prepareRun(workshop_, planned, step, state, label);
    }
    if (std::holds_alternative<parser::CopyInstruction>(step.body)) {
      return prepareCopy(workshop_, planned, step, state);
    }
    return prepareWorkdir(workshop_, step, state);
  }

  // The state after a step that does not depend on what is below it still does.
  static Digest stateAfter(const LayerStep& job, const Digest& key, const Digest& below) {
    if (!job.isIndependent) return key;
    Hasher hasher = startKey("link", below);
    hasher.field(key.str());
    return hasher.finish();
  }

  [[nodiscard]] bool isCacheUsed(const PlannedStage& planned) const {
    const auto& stages = request_.noCacheStages;
    return !request_.noCache &&
           std::find(stages.begin(), stages.end(), planned.label) == stages.end();
  }

  LayerRef lookUp(const LayerStep& job, const Digest& key, StageState& state,
                  const StepLabel& label) {
    Trace::Span span =
        Trace::beginStep(request_.trace, label.number, label.line, "cache", "look up");
    const auto hit = cache_.find(key);
    span.arg("cached", hit.has_value());
    if (!hit) return nullptr;
    if (key != job.key) cache_.remember(job.key, *hit->layer, hit->state, label.text);
    state.snapshot.key = stateAfter(job, hit->state, state.snapshot.key);
    state.init = nullptr;  // what the stored layer touched is not looked at
    StepReport& report = reports_.at(label.number).step;
    report.isCached = true;
    if (request_.hasExplanations || request_.isDryRun)
      report.explanation = provenance_.explainHit(key);
    if (request_.hasExplanations) progress_.stepExplained(label, report.explanation);
    progress_.stepCached(label);
    return hit->layer;
  }

  // A place among the --jobs that may work at the same time.
  class Slot {
   public:
    explicit Slot(int& used) : used_(used) { ++used_; }
    Slot(const Slot&) = delete;
    Slot& operator=(const Slot&) = delete;
    ~Slot() { --used_; }

   private:
    int& used_;
  };

  Task<> execute(LayerStep& job, Attempt& attempt, StageState& state, const StepLabel& label) {
    co_await events_.until([this] { return usedSlots_ < maxJobs_; });
    const Slot slot{usedSlots_};
    const Trace::Span span =
        Trace::beginStep(request_.trace, label.number, label.line,
                         label.text.starts_with("RUN") ? "run" : "context", label.text);
    Trace::Span unpacking = Trace::beginStep(request_.trace, label.number, label.line, "unpack",
                                             "layers below that are not there");
    if (job.command) requireRunnable(state.config.platform);
    co_await unpackMissing(events_, layout_, state.snapshot);
    unpacking.end();
    if (request_.hasExplanations) progress_.stepExplained(label, attempt.why);
    progress_.stepStarted(label, attempt.why.miss);
    const auto begin = Events::Clock::now();
    co_await fillLayer(job, attempt, state, label);
    if (job.command) succeeded_.insert(stepOrigin(request_.contextDir, label));
    attempt.layer->created = attempt.record->at = currentTime();
    attempt.record->seconds = std::chrono::duration<double>(Events::Clock::now() - begin).count();
    progress_.stepDone(label);
    keepInit(state, attempt.layer);
    std::vector<Digest> keys = keysOf(job, attempt);
    Digest key = keys.back();
    if (!attempt.layer->isRepeatable) keys.clear();
    // A command may make other files each time: what is made on top belongs to this execution, and
    // is found through its record only.
    if (job.command || !attempt.layer->isRepeatable) key = Digest::of(fs::randomHex(64));
    sealer_.add({attempt.layer, std::move(keys), key, label, std::move(attempt.lock),
                 std::move(attempt.record), std::move(attempt.place), std::move(attempt.stage)},
                state.snapshot);
    state.snapshot.key = stateAfter(job, key, state.snapshot.key);
  }

  // With --debug a step may be tried more than once.
  Task<> fillLayer(LayerStep& job, Attempt& attempt, StageState& state, const StepLabel& label) {
    for (;;) {
      attempt.layer = newLayer(layout_);
      std::optional<Error> failure;
      try {
        co_await job.execute(*attempt.layer, state.snapshot);
        co_return;
      } catch (const Error& error) {
        failure = error;
        store::addSpaceHint(*failure, layout_);
      }
      auto answer = DebugRequest::Answer::abort;
      // Where the shell itself cannot run, or a mount not be made, a second attempt tells nothing.
      const bool hasRoom = attempt.layer->isStarted || failure->code().empty();
      if (request_.debug.onFailure && job.openShell && hasRoom) {
        co_await openShell(job, *attempt.layer, state, failure->cause());
        answer = request_.debug.ask();
      }
      if (answer == DebugRequest::Answer::abort) {
        noteFailure(job, *failure, attempt.layer, state, label);
        throw *failure;
      }
      if (answer == DebugRequest::Answer::keep) {
        state.config.labels["img.debug"] = "true";
        attempt.layer->isRepeatable = false;  // no later build may get it
        co_return;
      }
    }
  }

  Task<> openShell(LayerStep& job, Layer& layer, const StageState& state, std::string why) {
    progress_.suspend();
    request_.debug.announce(why);
    co_await job.openShell(layer, state.snapshot);
    progress_.resume();
  }

  // before:LINE and after:LINE. What is done there is thrown away.
  Task<> stopAt(int line, const parser::Step& step, LayerStep& job, const StageState& state,
                const char* place) {
    const bool isHere = line >= step.syntax.line && line <= step.syntax.endLine;
    if (line == 0 || !isHere || !job.openShell) co_return;
    co_await unpackMissing(events_, layout_, state.snapshot);
    const LayerRef scratch = newLayer(layout_);
    co_await openShell(job, *scratch, state, fmt::format("{} line {}", place, line));
  }

  void noteFailure(const LayerStep& job, const Error& error, const LayerRef& layer,
                   const StageState& state, const StepLabel& label) {
    // Without its shell or its mounts a step has no room to look around in.
    if (!job.command || failure_ || !layer->isStarted) return;
    if (error.code() == "no-space") return;  // the room is wanted back
    if (const SecretGuard guard = guardOf(request_.step);
        !guard.isEmpty() && (holdsSecret(guard, *job.command) ||
                             guard.findInTree(layer->folder.get())))
      return;  // what holds a secret is not kept
    FailedStep step;
    step.buildId = result_.buildId;
    step.label = label;
    step.origin = stepOrigin(request_.contextDir, label);
    step.command = *job.command;
    step.exitCode = error.exitCode().value_or(1);
    step.error = error.cause();
    step.layer = layer;
    failure_.emplace(Failure{std::move(step), state});
  }

  // The mount points that the image lacks stay the same until a layer touches a folder they lie in;
  // until then the init layer of the first RUN serves the later ones, too.
  static void keepInit(StageState& state, const LayerRef& layer) {
    if (!state.init && sys::tryFstatat(layer->work->fd(), "init")) state.init = layer;
    for (const char* name : {"proc", "sys", "dev", "etc"}) {
      if (sys::tryFstatat(layer->folder.get(), name)) state.init = nullptr;
    }
    if (state.init && !holdsOnlyUsualFolders(*state.init)) state.init = nullptr;
  }

  // False when a link of the image leads one of the mount points elsewhere.
  static bool holdsOnlyUsualFolders(const Layer& owner) {
    const Fd init = sys::openDirectory(owner.work->fd(), "init");
    const std::vector<fs::Entry> entries = fs::list(init.get());
    return std::all_of(entries.begin(), entries.end(), [](const fs::Entry& entry) {
      return entry.name == "proc" || entry.name == "sys" || entry.name == "dev" ||
             entry.name == "etc";
    });
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
  [[nodiscard]] std::vector<WasteLayer> newLayers(const StageState& state) const {
    std::vector<WasteLayer> layers;
    for (const LayerRef& layer : state.snapshot.layers) {
      if (!layer->isNew) continue;
      for (const auto& [number, report] : reports_) {
        if (report.layer == layer) layers.push_back({layer->folder.get(), report.step.label});
      }
    }
    return layers;
  }

  void report() {
    for (auto& [number, report] : reports_) {
      if (report.layer) report.step.bytes = report.layer->bytes;
      ++result_.steps;
      if (report.step.isCached) ++result_.cachedSteps;
      result_.reports.push_back(std::move(report.step));
    }
  }

  const Request request_;
  const parser::Dockerfile& file_;
  const store::Layout& layout_;
  Progress& progress_;
  Scope scope_;
  Context context_;
  StepCache cache_;
  StepLocks locks_;
  Provenance provenance_;
  std::optional<StatCache> statCache_;
  Sealer sealer_;
  Events events_;
  Workshop workshop_{layout_, scope_, context_, nullptr, events_, progress_,
                     {},      {},     remoteAccess(request_.step)};
  std::map<int, StageState> states_;  // of finished stages
  std::map<int, int> firstNumber_;    // of the steps of each needed stage
  struct Report {
    StepReport step;
    LayerRef layer;  // null: none, or the base image
  };
  std::map<int, Report> reports_;  // by step number
  struct Failure {
    FailedStep step;
    StageState below;
  };
  std::optional<Failure> failure_;   // the first one
  std::set<std::string> succeeded_;  // origins of RUN steps that were executed
  int maxJobs_ = 1, usedSlots_ = 0;
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

// One build for each platform: steps that do not depend on it are in the cache for the next one.
Result buildAll(const Request& request, const parser::Dockerfile& file, const store::Layout& layout,
                Progress& progress) {
  checkOutputs(request, layout);
  std::vector<Request> parts{request};
  if (request.platforms.size() > 1) {
    parts.assign(request.platforms.size(), request);
    for (size_t i = 0; i < parts.size(); ++i) parts[i].platforms = {request.platforms[i]};
  }
  Result result;
  std::vector<BuiltImage> images;
  for (const Request& part : parts) {
    Build one{part, file, layout, progress};
    addResult(result, one.run());
    if (!request.isDryRun) images.push_back(one.image());
  }
  if (request.isDryRun) return result;
  Trace::Span exporting = Trace::begin(request.trace, "scheduler", "export", "result");
  const Delivered delivered = deliver(layout, request, std::move(images), progress);
  exporting.end();
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
