#include "builder/step_runner.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <ctime>

#include "base/fs.h"
#include "base/log.h"
#include "base/sys.h"
#include "base/text.h"
#include "builder/file_times.h"
#include "builder/foreign_platform.h"
#include "builder/secret_guard.h"
#include "builder/stage_image.h"
#include "builder/trace.h"

namespace img::builder {
namespace {

constexpr std::chrono::milliseconds kFirstLockDelay{2}, kMaxLockDelay{50};

std::string currentTime() {
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME, &now);
  return text::formatTime(now.tv_sec, now.tv_nsec);
}

// The key of a step over the state `below`, and of the state after it. One that does not depend on
// what lies below is found over every state, but the state after it does depend on it.
Digest keyOver(const LayerStep& job, const Digest& own, const Digest& below) {
  if (job.isIndependent) return own;
  Hasher hasher = startKey("over", below);
  hasher.field(own.str());
  return hasher.finish();
}

Digest stateAfter(const LayerStep& job, const Digest& key, const Digest& below) {
  if (!job.isIndependent) return key;
  Hasher hasher = startKey("link", below);
  hasher.field(key.str());
  return hasher.finish();
}

void markUnknown(StageState& state, const Digest& key) {
  Hasher hasher = startKey("unknown", key);
  state.snapshot.key = hasher.finish();
  state.isUnknown = true;
}

}  // namespace

// On the way from a step to its layer.
struct StepRunner::Attempt {
  LayerRef layer;                // found or made
  std::optional<Digest> source;  // LayerStep::contentKey, once computed
  StepLock lock;                 // ours to execute the step
  bool isLookedUp = true;        // false: --no-cache
  // Of a step that is not found.
  std::shared_ptr<InputRecord> record;
  Explanation why;

  // The step without what lies below, as exactly as it is known.
  [[nodiscard]] const Digest& own(const LayerStep& job) const { return source ? *source : job.key; }
  // The definition key, and the one by the content of the source.
  [[nodiscard]] std::vector<Digest> keys(const LayerStep& job, const Digest& below) const {
    std::vector<Digest> keys{keyOver(job, job.key, below)};
    if (source) keys.push_back(keyOver(job, *source, below));
    return keys;
  }
};

// A place among the --jobs that may work at the same time.
class StepRunner::Slot {
 public:
  explicit Slot(int& used) : used_(used) { ++used_; }
  Slot(const Slot&) = delete;
  Slot& operator=(const Slot&) = delete;
  ~Slot() { --used_; }

 private:
  int& used_;
};

std::vector<int> stagesOf(const PlannedStage& planned, const parser::Step& step) {
  std::vector<int> stages;
  for (const std::string& name : sourceNames(step)) {
    const SourceRef& source = planned.sources.at(name);
    if (source.stage) stages.push_back(*source.stage);
  }
  return stages;
}

StepRunner::StepRunner(const Parts& parts)
    : request_(parts.request),
      shop_(parts.shop),
      cache_(parts.cache),
      provenance_(parts.provenance),
      sealer_(parts.sealer),
      stages_(parts.stages),
      imports_(parts.imports),
      shown_(parts.shown),
      locks_(parts.shop.layout),
      spare_(parts.shop.layout) {
  maxJobs_ = request_.jobs > 0 ? request_.jobs
                               : static_cast<int>(std::max(1L, ::sysconf(_SC_NPROCESSORS_ONLN)));
  shop_.events.whenIdle([this] {
    spare_.make();
    rememberEarly();
  });
}

// What is not known in the end is tried again then, and an error told.
void StepRunner::rememberEarly() {
  try {
    done_.remember(cache_, DoneSteps::When::meanwhile);
  } catch (const Error& error) {
    log::info("{}", error.cause());
  }
}

Task<> StepRunner::run(const Call& call) {
  Report& report = reports_[call.label.number];
  report.step.label = call.label;
  const auto begin = Events::Clock::now();
  try {
    co_await makeLayer(call);
  } catch (const Cancelled&) {
    shop_.progress.stepFailed(call.label, "cancelled");
    throw;
  } catch (Error& error) {
    shop_.progress.stepFailed(call.label, error.cause());
    error.at(positionOf(*shop_.scope.file, call.step.syntax));
    if (error.stage().empty()) error.stage(call.place);
    throw;
  }
  report.step.seconds = std::chrono::duration<double>(Events::Clock::now() - begin).count();
}

void StepRunner::showCached(const StepLabel& label) {
  if (shown_.insert(label.number).second) shop_.progress.stepCached(label);
}

void StepRunner::showBase(const StepLabel& label) {
  showCached(label);
  Report& report = reports_[label.number];
  report.step.label = label;
  report.step.isCached = true;
}

Task<> StepRunner::makeLayer(const Call& call) {
  StageState& state = call.state;
  Report& report = reports_.at(call.label.number);
  std::optional<LayerStep> job = prepare(call);
  if (!job) {  // WORKDIR /
    recordHistory(state, "WORKDIR /");
    report.step.isCached = true;
    showCached(call.label);
    co_return;
  }
  noteNeeds(call);
  if (job->lateKey && areInputsKnown(call)) job->key = co_await job->lateKey();
  co_await stopAt(request_.debug.beforeLine, call, *job, "before");
  Attempt attempt;
  attempt.isLookedUp = isCacheUsed(call.planned);
  if (request_.isDryRun) {
    co_await lookUpOnly(call, *job, attempt);
  } else if (attempt.isLookedUp) {
    co_await lookUpOrLock(call, *job, attempt);
  } else if (job->contentKey) {
    attempt.source = co_await job->contentKey();
  }
  if (!attempt.layer) explain(call, *job, attempt);
  if (!attempt.layer) co_await lookUpContent(call, *job, attempt);
  state.lastStep = call.label.number;
  state.isOnBase = false;
  if (request_.isDryRun && !attempt.layer) {
    markUnknown(state, job->key);
    co_return;
  }
  if (!attempt.layer) co_await execute(call, *job, attempt);
  report.layer = attempt.layer;
  state.snapshot.layers.push_back(attempt.layer);
  recordHistory(state, job->createdBy, attempt.layer);
  co_await stopAt(request_.debug.afterLine, call, *job, "after");
}

std::optional<LayerStep> StepRunner::prepare(const Call& call) {
  if (std::holds_alternative<parser::RunInstruction>(call.step.body))
    return prepareRun(shop_, call.planned, call.step, call.state, call.label);
  if (std::holds_alternative<parser::CopyInstruction>(call.step.body))
    return prepareCopy(shop_, call.planned, call.step, call.state);
  return prepareWorkdir(shop_, call.step, call.state);
}

void StepRunner::noteNeeds(const Call& call) {
  std::vector<int>& needs = reports_.at(call.label.number).step.needs;
  if (call.state.lastStep > 0) needs.push_back(call.state.lastStep);
  for (const int stage : stagesOf(call.planned, call.step)) {
    if (stages_.at(stage).lastStep > 0) needs.push_back(stages_.at(stage).lastStep);
  }
}

// False only in a dry run: a stage that the step copies or mounts from would have to run first.
bool StepRunner::areInputsKnown(const Call& call) const {
  const std::vector<int> sources = stagesOf(call.planned, call.step);
  return std::none_of(sources.begin(), sources.end(),
                      [&](int stage) { return stages_.at(stage).isUnknown; });
}

bool StepRunner::isCacheUsed(const PlannedStage& planned) const {
  const auto& stages = request_.noCacheStages;
  return !request_.noCache &&
         std::find(stages.begin(), stages.end(), planned.label) == stages.end();
}

LayerRef StepRunner::lookUp(const Call& call, const LayerStep& job, const Digest& key) {
  const StepLabel& label = call.label;
  Trace::Span span = Trace::beginStep(request_.trace, label.number, label.line, "cache", "look up");
  std::optional<ImportedCaches::Hit> hit;
  if (auto found = cache_.find(key)) hit = ImportedCaches::Hit{std::move(*found), {}};
  if (!hit) hit = imports_.find(key);
  span.arg("cached", hit.has_value());
  if (!hit) return nullptr;
  const LayerRef layer = hit->found.layer;
  const std::string from = hit->from;
  const Digest state = hit->found.state;
  noteHit(call, job, key, std::move(*hit));
  Snapshot& snapshot = call.state.snapshot;
  snapshot.key = stateAfter(job, state, snapshot.key);
  call.state.init = nullptr;  // what the stored layer touched is not looked at
  StepReport& report = reports_.at(label.number).step;
  report.isCached = true;
  report.reason.clear();
  if (request_.hasExplanations || request_.isDryRun)
    report.explanation = provenance_.explainHit(key);
  report.explanation.from = from;
  if (request_.hasExplanations) shop_.progress.stepExplained(label, report.explanation);
  showCached(label);
  return layer;
}

// The result gets the key of the definition as well, so that the next look-up is the first one.
void StepRunner::noteHit(const Call& call, const LayerStep& job, const Digest& key,
                         ImportedCaches::Hit hit) {
  const Digest definition = keyOver(job, job.key, call.state.snapshot.key);
  StepCache::Hit& found = hit.found;
  std::vector<Digest>& keys = found.known.keys;
  const auto has = [&](const Digest& wanted) {
    return std::find(keys.begin(), keys.end(), wanted) != keys.end();
  };
  // Found by content: the other keys are over another state below.
  if (!has(key)) keys.clear();
  if (!has(definition)) keys.insert(keys.begin(), definition);
  if (!found.known.own && !job.contentKey) found.known.own = job.key;
  const bool isImported = !hit.from.empty();
  if (key != definition && !isImported)
    cache_.remember(definition, *found.layer, found.state, call.label.text, found.known);
  const bool isExported = !request_.cacheTo.empty() || request_.hasInlineCache;
  if (!isImported && !isExported) return;
  using Origin = DoneStep::Origin;
  done_.add(call.label.number,
            {isImported ? Origin::imported : Origin::found, found.layer, call.state.snapshot.layers,
             std::move(found.known), found.state, found.instruction, job.isIndependent});
}

// A dry run takes no lock and waits for nobody. What a stage would consist of that has to run first
// is not known.
Task<> StepRunner::lookUpOnly(const Call& call, LayerStep& job, Attempt& attempt) {
  const StageState& state = call.state;
  const bool isKnown = areInputsKnown(call) && (!state.isUnknown || job.isIndependent);
  const Digest below = state.snapshot.key;
  if (isKnown) reports_.at(call.label.number).step.key = keyOver(job, job.key, below);
  if (!isKnown || !attempt.isLookedUp) co_return;
  attempt.layer = lookUp(call, job, keyOver(job, job.key, below));
  if (attempt.layer || !job.contentKey) co_return;
  attempt.source = co_await job.contentKey();
  attempt.layer = lookUp(call, job, keyOver(job, *attempt.source, below));
}

// Finds the layer, or comes back with the lock. While another build executes the same step we wait
// for its result.
Task<> StepRunner::lookUpOrLock(const Call& call, LayerStep& job, Attempt& attempt) {
  const Digest below = call.state.snapshot.key;
  attempt.layer = lookUp(call, job, keyOver(job, job.key, below));
  if (attempt.layer) co_return;
  if (job.contentKey) attempt.source = co_await job.contentKey();
  const Digest key = keyOver(job, attempt.own(job), below);
  Trace::Span waiting;
  for (auto delay = kFirstLockDelay;; delay = std::min(2 * delay, kMaxLockDelay)) {
    attempt.lock = locks_.tryLock(key);
    // Looked up with the lock, too: whoever had it before us may have made the layer.
    attempt.layer = lookUp(call, job, key);
    if (attempt.layer || attempt.lock) co_return;
    if (delay == kFirstLockDelay)
      waiting = Trace::begin(request_.trace, "lock", "lock", "another build runs this step");
    co_await shop_.events.pause(delay);
  }
}

// Only when nothing but the state below differs from an earlier execution: then it pays to wait
// until the diff IDs below are known.
Task<> StepRunner::lookUpContent(const Call& call, LayerStep& job, Attempt& attempt) {
  const bool isWorthwhile =
      attempt.isLookedUp && !request_.isDryRun && !job.isIndependent &&
      (attempt.why.miss.reason == "parent" || imports_.hasStep(attempt.own(job)));
  if (!isWorthwhile) co_return;
  const std::vector<LayerRef>& below = call.state.snapshot.layers;
  const Digest own = attempt.own(job);
  std::optional<Digest> key;
  co_await shop_.events.until([&] {
    key = contentKey(own, below);
    return key.has_value();
  });
  attempt.layer = lookUp(call, job, *key);
}

void StepRunner::explain(const Call& call, const LayerStep& job, Attempt& attempt) {
  attempt.record = std::make_shared<InputRecord>(
      provenance_.describe(call.planned, call.step, call.state, call.label, job));
  std::vector<Digest> keys;
  if (attempt.isLookedUp) keys = attempt.keys(job, call.state.snapshot.key);
  attempt.why = provenance_.explain(*attempt.record, keys, call.state);
  // What was here and is not any more has a better reason.
  static const std::set<std::string_view> kLocal{"evicted", "damaged", "ttl"};
  if (kLocal.count(attempt.why.miss.reason) == 0) {
    if (auto miss = imports_.whyAbsent(keys)) attempt.why.miss = std::move(*miss);
  }
  StepReport& report = reports_.at(call.label.number).step;
  report.reason = attempt.why.miss.text;
  report.explanation = attempt.why;
}

Task<> StepRunner::execute(const Call& call, LayerStep& job, Attempt& attempt) {
  const StepLabel& label = call.label;
  co_await shop_.events.until([this] { return usedSlots_ < maxJobs_; });
  const Slot slot{usedSlots_};
  const Trace::Span span =
      Trace::beginStep(request_.trace, label.number, label.line,
                       label.text.starts_with("RUN") ? "run" : "context", label.text);
  Trace::Span unpacking = Trace::beginStep(request_.trace, label.number, label.line, "unpack",
                                           "layers below that are not there");
  if (job.command) requireRunnable(call.state.config.platform);
  if (request_.makeRoom) request_.makeRoom();
  co_await unpackMissing(shop_.events, shop_.layout, call.state.snapshot);
  unpacking.end();
  if (request_.hasExplanations) shop_.progress.stepExplained(label, attempt.why);
  shown_.insert(label.number);
  shop_.progress.stepStarted(label, attempt.why.miss);
  const auto begin = Events::Clock::now();
  if (job.command && isRunFollowing(call.planned, call.step)) spare_.want();
  co_await fillLayer(call, job, attempt);
  const auto epoch = request_.layerEpoch();
  // What lies in the store has the times of its tar.
  if (epoch && !attempt.layer->descriptor) clampFileTimes(attempt.layer->folder.get(), *epoch);
  if (job.command) succeeded_.insert(stepOrigin(request_.contextDir, label));
  attempt.layer->created = attempt.record->at = currentTime();
  attempt.record->seconds = std::chrono::duration<double>(Events::Clock::now() - begin).count();
  shop_.progress.stepDone(label);
  keepInit(call.state, attempt.layer);
  seal(call, job, attempt);
}

void StepRunner::seal(const Call& call, const LayerStep& job, Attempt& attempt) {
  Snapshot& below = call.state.snapshot;
  std::vector<Digest> keys = attempt.keys(job, below.key);
  Digest key = keys.back();
  const bool isRepeatable = attempt.layer->isRepeatable;
  if (!isRepeatable) keys.clear();
  // A command may make other files each time: what is made on top belongs to this execution, and is
  // found through its record only.
  if (job.command || !isRepeatable) key = Digest::of(fs::randomHex(64));
  const Digest own = attempt.own(job);
  if (isRepeatable) {
    done_.add(call.label.number, {DoneStep::Origin::made,
                                  attempt.layer,
                                  below.layers,
                                  {keys, own},
                                  key,
                                  call.label.text,
                                  job.isIndependent});
  }
  sealer_.add(
      {attempt.layer, std::move(keys), key, own, call.label, std::move(attempt.lock),
       std::move(attempt.record), positionOf(*shop_.scope.file, call.step.syntax), call.place},
      // Found over any state later, so that what lies below now says nothing about it.
      job.isIndependent ? Snapshot{} : below);
  below.key = stateAfter(job, key, below.key);
}

// With --debug a step may be tried more than once.
Task<> StepRunner::fillLayer(const Call& call, LayerStep& job, Attempt& attempt) {
  for (;;) {
    attempt.layer = spare_.take();
    std::optional<Error> failure;
    try {
      co_await job.execute(*attempt.layer, call.state.snapshot);
      co_return;
    } catch (const Error& error) {
      failure = error;
      store::addSpaceHint(*failure, shop_.layout);
    }
    auto answer = DebugRequest::Answer::abort;
    // Where the shell itself cannot run, or a mount not be made, a second attempt tells nothing.
    const bool hasRoom = attempt.layer->isStarted || failure->code().empty();
    if (request_.debug.onFailure && job.openShell && hasRoom) {
      co_await openShell(job, *attempt.layer, call.state, failure->cause());
      answer = request_.debug.ask();
    }
    if (answer == DebugRequest::Answer::abort) {
      noteFailure(call, job, *failure, attempt.layer);
      throw *failure;
    }
    if (answer == DebugRequest::Answer::keep) {
      call.state.config.labels["img.debug"] = "true";
      attempt.layer->isRepeatable = false;  // no later build may get it
      co_return;
    }
  }
}

Task<> StepRunner::openShell(LayerStep& job, Layer& layer, const StageState& state,
                             std::string why) {
  shop_.progress.suspend();
  request_.debug.announce(why);
  co_await job.openShell(layer, state.snapshot);
  shop_.progress.resume();
}

// before:LINE and after:LINE. What is done there is thrown away.
Task<> StepRunner::stopAt(int line, const Call& call, LayerStep& job, const char* where) {
  const bool isHere = line >= call.step.syntax.line && line <= call.step.syntax.endLine;
  if (line == 0 || !isHere || !job.openShell) co_return;
  co_await unpackMissing(shop_.events, shop_.layout, call.state.snapshot);
  const LayerRef scratch = newLayer(shop_.layout);
  co_await openShell(job, *scratch, call.state, fmt::format("{} line {}", where, line));
}

void StepRunner::noteFailure(const Call& call, const LayerStep& job, const Error& error,
                             const LayerRef& layer) {
  // Without its shell or its mounts a step has no room to look around in.
  if (!job.command || failure_ || !layer->isStarted) return;
  if (error.code() == "no-space") return;  // the room is wanted back
  if (const SecretGuard guard = guardOf(request_.step);
      !guard.isEmpty() &&
      (holdsSecret(guard, *job.command) || guard.findInTree(layer->folder.get())))
    return;  // what holds a secret is not kept
  FailedStep step;
  step.label = call.label;
  step.origin = stepOrigin(request_.contextDir, call.label);
  step.command = *job.command;
  step.exitCode = error.exitCode().value_or(1);
  step.error = error.cause();
  step.layer = layer;
  failure_.emplace(Failure{std::move(step), call.state});
}

// An interrupted build has no failed step, and one whose lower layers could not be sealed none that
// anybody could enter.
void StepRunner::keepFailure(const std::string& buildId, Error& error) {
  if (!failure_ || !sealer_.isIdle()) return;
  FailedStep& step = failure_->step;
  step.buildId = buildId;
  try {
    copyFromFailedStep(shop_.layout, failure_->below.snapshot, step.layer, request_.failureCopies);
  } catch (const Error& trouble) {
    shop_.progress.warning(trouble);
  }
  const std::vector<LayerRef>& below = failure_->below.snapshot.layers;
  const bool isSealed = std::all_of(below.begin(), below.end(),
                                    [](const LayerRef& layer) { return layer->descriptor; });
  if (!request_.keepsFailedStep || !isSealed) return;
  try {
    step.base = writeStageImage(shop_.layout, failure_->below, request_, shop_.progress);
    keepFailedStep(shop_.layout, step);
    error.hint(fmt::format("look around in the failed step: img debug {}", step.buildId));
  } catch (const Error& trouble) {
    shop_.progress.warning(trouble);
  }
}

}  // namespace img::builder
