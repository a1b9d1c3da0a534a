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

void DoneSteps::remember(const StepCache& cache) const {
  for (const auto& [number, step] : steps_) {
    if (step.origin == DoneStep::Origin::found) continue;
    // Its seal failed, or nobody needed its files.
    if (!step.layer->diffId || !step.layer->descriptor) continue;
    if (step.origin == DoneStep::Origin::imported) {
      for (const Digest& key : step.known.keys)
        cache.remember(key, *step.layer, step.state, step.text, step.known);
    }
    if (const auto key = step.contentKey())
      cache.remember(*key, *step.layer, step.state, step.text, step.known);
  }
}

std::vector<ExportedStep> DoneSteps::exported() const {
  std::vector<ExportedStep> steps;
  for (const auto& [number, step] : steps_)
    steps.push_back({step.layer, step.known, step.contentKey(), step.state, step.text});
  return steps;
}

}  // namespace img::builder
