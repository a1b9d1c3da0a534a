#include "builder/done_steps.h"

namespace img::builder {

std::optional<Digest> contentKey(const Digest& own, const std::vector<LayerRef>& below) {
  Hasher hasher = startKey("content", own);
  for (const LayerRef& layer : below) {
    if (!layer->diffId) return std::nullopt;
    hasher.field(layer->diffId->str());
  }
  return hasher.finish();
}

std::optional<Digest> DoneStep::contentKey() const {
  if (isIndependent || !known.own) return std::nullopt;
  return builder::contentKey(*known.own, below);
}

void DoneSteps::add(int number, DoneStep step) {
  DoneStep& added = steps_.insert_or_assign(number, std::move(step)).first->second;
  fresh_.erase(number);
  if (added.origin != DoneStep::Origin::found) fresh_[number] = &added;
}

void DoneSteps::remember(const StepCache& cache, When when) {
  for (auto next = fresh_.begin(); next != fresh_.end();) {
    const DoneStep& step = *next->second;
    // Otherwise it is not sealed yet, its seal failed, or nobody has needed its files.
    const bool isHere = step.layer->diffId && step.layer->descriptor;
    const auto key = isHere ? step.contentKey() : std::nullopt;
    const bool isComplete = isHere && (key || step.isIndependent || !step.known.own);
    if (isHere && step.origin == DoneStep::Origin::imported && (isComplete || when == When::end)) {
      for (const Digest& known : step.known.keys)
        cache.remember(known, *step.layer, step.state, step.text, step.known);
    }
    if (key) cache.remember(*key, *step.layer, step.state, step.text, step.known);
    next = isComplete ? fresh_.erase(next) : std::next(next);
  }
}

std::vector<ExportedStep> DoneSteps::exported() const {
  std::vector<ExportedStep> steps;
  for (const auto& [number, step] : steps_)
    steps.push_back({step.layer, step.known, step.contentKey(), step.state, step.text});
  return steps;
}

}  // namespace img::builder
