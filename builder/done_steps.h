// The steps of a build that have a layer: what the local cache still has to learn of them, and what
// exports see. One per attempt; used by the build's one thread.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "builder/cache.h"
#include "builder/exported_step.h"

namespace img::builder {

// The key of a step by what lies below it; nullopt while a layer is not sealed.
std::optional<Digest> contentKey(const Digest& own, const std::vector<LayerRef>& below);

struct DoneStep {
  enum class Origin { found, imported, made };
  Origin origin = Origin::found;  // in our cache, in one of another machine, by this build
  LayerRef layer;
  std::vector<LayerRef> below;
  StepKeys known;
  Digest state;
  std::string text;
  bool isIndependent = false;  // has no content key
  [[nodiscard]] std::optional<Digest> contentKey() const;
};

class DoneSteps {
 public:
  void add(int number, DoneStep step);
  // Makes the content keys of new layers known, and what was imported and fetched; each once. While
  // layers are still being sealed: of what is complete.
  enum class When { meanwhile, end };
  void remember(const StepCache& cache, When when);
  // In the order of the plan. Every layer is sealed, or lies elsewhere.
  [[nodiscard]] std::vector<ExportedStep> exported() const;

 private:
  std::map<int, DoneStep> steps_;   // by number
  std::map<int, DoneStep*> fresh_;  // of them, those that the cache does not know yet
};

}  // namespace img::builder
