// One step at a time of a stage: its layer is found in the cache, or made - once, however many
// builds want it -, sealed in the background, recorded and reported.
//
// A step has two keys (architecture.md 4). The definition key covers the step and the key of the
// state below, and is known at once. The content key covers the step and the diff IDs below, so
// that a step that ran again but made the same files does not invalidate what follows; it is looked
// up only when nothing but the state below differs from an earlier execution, because diff IDs have
// to be waited for.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "builder/cache_import.h"
#include "builder/done_steps.h"
#include "builder/failed_step.h"
#include "builder/layer_step.h"
#include "builder/next_step.h"
#include "builder/provenance.h"
#include "builder/step_locks.h"

namespace img::builder {

class StepRunner {
 public:
  // What all steps of a build share. `stages`: the states of finished stages.
  struct Parts {
    const Request& request;
    Workshop& shop;
    StepCache& cache;
    Provenance& provenance;
    Sealer& sealer;
    const std::map<int, StageState>& stages;
    ImportedCaches& imports;
    std::set<int>& shown;  // steps that the progress knows already, from an attempt before
  };
  explicit StepRunner(const Parts& parts);

  // A step under way.
  struct Call {
    const PlannedStage& planned;
    const parser::Step& step;
    StageState& state;
    const StepLabel& label;
    std::string place;  // `stage "build", step 4/9`
  };
  // Carries the state over the step. Errors get the step's place.
  Task<> run(const Call& call);

  // A base image counts as a step that was cached.
  void showBase(const StepLabel& label);
  // After the last seal, also of a build that failed: makes the content keys of new layers known,
  // and what was found in an imported cache and fetched.
  void rememberContents() { done_.remember(cache_, DoneSteps::When::end); }
  // The steps so far, in the order of the plan; every layer is sealed.
  [[nodiscard]] std::vector<ExportedStep> exported() const { return done_.exported(); }
  // Of a build that has failed with `error`: keeps the step for `img debug`.
  void keepFailure(const std::string& buildId, Error& error);
  // RUN steps that were executed (stepOrigin()).
  [[nodiscard]] const std::set<std::string>& succeeded() const { return succeeded_; }

  struct Report {
    StepReport step;
    LayerRef layer;  // null: none, or the base image
  };
  [[nodiscard]] std::map<int, Report>& reports() { return reports_; }  // by step number

 private:
  struct Attempt;
  class Slot;
  Task<> makeLayer(const Call& call);
  void rememberEarly();
  [[nodiscard]] std::optional<LayerStep> prepare(const Call& call);
  void noteNeeds(const Call& call);
  [[nodiscard]] bool areInputsKnown(const Call& call) const;
  [[nodiscard]] bool isCacheUsed(const PlannedStage& planned) const;

  void showCached(const StepLabel& label);
  LayerRef lookUp(const Call& call, const LayerStep& job, const Digest& key);
  void noteHit(const Call& call, const LayerStep& job, const Digest& key, ImportedCaches::Hit hit);
  Task<> lookUpOnly(const Call& call, LayerStep& job, Attempt& attempt);
  Task<> lookUpOrLock(const Call& call, LayerStep& job, Attempt& attempt);
  Task<> lookUpContent(const Call& call, LayerStep& job, Attempt& attempt);
  void explain(const Call& call, const LayerStep& job, Attempt& attempt);

  Task<> execute(const Call& call, LayerStep& job, Attempt& attempt);
  Task<> fillLayer(const Call& call, LayerStep& job, Attempt& attempt);
  void seal(const Call& call, const LayerStep& job, Attempt& attempt);
  Task<> openShell(LayerStep& job, Layer& layer, const StageState& state, std::string why);
  Task<> stopAt(int line, const Call& call, LayerStep& job, const char* where);
  void noteFailure(const Call& call, const LayerStep& job, const Error& error,
                   const LayerRef& layer);

  const Request& request_;
  Workshop& shop_;
  StepCache& cache_;
  Provenance& provenance_;
  Sealer& sealer_;
  const std::map<int, StageState>& stages_;
  ImportedCaches& imports_;
  std::set<int>& shown_;
  StepLocks locks_;
  SpareLayer spare_;
  std::map<int, Report> reports_;
  struct Failure {
    FailedStep step;
    StageState below;
  };
  std::optional<Failure> failure_;  // the first one
  std::set<std::string> succeeded_;
  DoneSteps done_;
  int maxJobs_ = 1, usedSlots_ = 0;
};

// Other stages that a step copies or mounts from.
std::vector<int> stagesOf(const PlannedStage& planned, const parser::Step& step);

}  // namespace img::builder
