// Why a step was not found in the cache: its inputs compared with those of the closest earlier
// execution, input by input (cli.md 9.3).
#pragma once

#include <string>
#include <vector>

#include "builder/cache.h"
#include "builder/inputs.h"
#include "builder/miss.h"

namespace img::builder {

// A step of which nothing was found.
struct MissedStep {
  const InputRecord& record;    // of the step as it is now
  std::vector<Digest> keys;     // looked up
  int parent = 0;               // number of the step below; 0: there is none
  bool countsGitModes = false;  // --context-perms=git is on already
};

// Its `seconds` are those of the earlier execution.
Explanation explainMiss(const InputStore& inputs, const StepCache& cache,
                        const store::Layout& layout, const MissedStep& step);

// Nobody looked: --no-cache, or --no-cache-filter with this stage.
Miss notLookedUp(const std::string& option);

// What differs, without the parent; files last.
std::vector<Change> compareInputs(const InputList& before, const InputList& now);

// "src/handler.c changed", "4 files changed", "arg VERSION changed".
std::string shortText(const std::vector<Change>& changes);

}  // namespace img::builder
