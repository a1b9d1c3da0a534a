#include "builder/provenance.h"

#include <algorithm>

namespace img::builder {
namespace {

// Among the steps of the same keyword, so that an instruction of another kind above it does not
// make it another step.
int positionOf(const PlannedStage& planned, const parser::Step& step) {
  int position = 0;
  for (const parser::Step& other : planned.steps) {
    if (other.syntax.keyword == step.syntax.keyword) ++position;
    if (&other == &step) break;
  }
  return position;
}

// The state below: a number of the plan, and directly above a base also the base.
void addBelow(InputList& list, const StageState& state) {
  list.add("parent", "", state.snapshot.key.hex());
  if (state.isOnBase) list.add("base", state.baseName, state.snapshot.key.hex(), state.baseDigest);
}

// The user may have written a secret into the Dockerfile or into an argument: a record keeps it as
// little as a layer does, but still tells that it changed (security.md S1).
void hideSecrets(InputRecord& record, const SecretGuard& guard) {
  const auto hide = [&](std::string& text) {
    if (guard.find(text)) text = Digest::of(text).str();
  };
  hide(record.place.text);
  for (Input& input : record.list.inputs) {
    for (std::string* text : {&input.name, &input.value, &input.detail}) hide(*text);
  }
  for (FileInput& file : record.list.files) {
    hide(file.path);
    hide(file.link);
  }
}

}  // namespace

Provenance::Provenance(const store::Layout& layout, const StepCache& cache, const Request& request)
    : layout_(layout),
      cache_(cache),
      request_(request),
      secrets_(request.step.secrets),
      inputs_(layout) {}

InputRecord Provenance::describe(const PlannedStage& planned, const parser::Step& step,
                                 const StageState& state, const StepLabel& label,
                                 const LayerStep& job) const {
  InputRecord record;
  record.place.dockerfile = request_.dockerfilePath.empty()
                                ? request_.contextDir + "\n" + request_.dockerfileName
                                : request_.dockerfilePath;
  record.place.stage = planned.label;
  record.place.kind = step.syntax.keyword;
  record.place.position = positionOf(planned, step);
  record.place.text = step.syntax.original;
  record.buildId = buildId_;
  record.step = label.number;
  if (!job.isIndependent) addBelow(record.list, state);
  if (job.inputs) job.inputs(record.list);
  if (request_.sourceDateEpoch)
    record.list.add("epoch", "", std::to_string(*request_.sourceDateEpoch));
  if (!secrets_.isEmpty()) hideSecrets(record, secrets_);
  record.list.sortFiles();
  return record;
}

Explanation Provenance::explain(const InputRecord& record, const std::vector<Digest>& keys,
                                const StageState& state) const {
  if (keys.empty()) {
    Explanation result;
    result.miss = notLookedUp(request_.noCache ? "--no-cache" : "--no-cache-filter");
    if (const auto earlier = inputs_.findClosest(record.place)) result.seconds = earlier->seconds;
    return result;
  }
  return explainMiss(inputs_, cache_, layout_,
                     {record, keys, state.lastStep, request_.hasGitPermissions});
}

Explanation Provenance::explainHit(const Digest& key) const {
  Explanation result;
  result.isHit = true;
  if (const auto record = inputs_.find(key)) {
    result.madeBy = record->buildId;
    result.madeAt = record->at;
    result.seconds = record->seconds;
  }
  return result;
}

}  // namespace img::builder
