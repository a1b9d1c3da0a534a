// What a build remembers of the steps it executes, and what it says about those it does not find:
// ties the records of inputs to stages and steps.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "builder/explain.h"
#include "builder/inputs.h"
#include "builder/layer_step.h"
#include "builder/secret_guard.h"

namespace img::builder {

class Provenance {
 public:
  Provenance(const store::Layout& layout, const StepCache& cache, const Request& request);
  void setBuildId(std::string id) { buildId_ = std::move(id); }

  // The step as it is about to be executed: its place and all its inputs. Costs a walk over the
  // list of files, so it is for misses only.
  [[nodiscard]] InputRecord describe(const PlannedStage& planned, const parser::Step& step,
                                     const StageState& state, const StepLabel& label,
                                     const LayerStep& job) const;
  // Why `record` has to be executed. `keys` are what was looked up; none: the cache was not asked.
  [[nodiscard]] Explanation explain(const InputRecord& record, const std::vector<Digest>& keys,
                                    const StageState& state) const;
  // Who executed the step that was found under `key`.
  [[nodiscard]] Explanation explainHit(const Digest& key) const;

 private:
  const store::Layout& layout_;
  const StepCache& cache_;
  const Request& request_;
  SecretGuard secrets_;
  InputStore inputs_;
  std::string buildId_;
};

}  // namespace img::builder
