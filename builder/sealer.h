// Seals the layers of finished steps in child processes while later steps run (architecture.md 4).
// Single-threaded owner; pollable: fds() become readable when a child has ended, and reap() then
// takes its result.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/process.h"
#include "builder/cache.h"
#include "builder/progress.h"
#include "builder/snapshot.h"
#include "store/layout.h"

namespace img::builder {

class Sealer {
 public:
  Sealer(const store::Layout& layout, const StepCache& cache, Progress& progress,
         std::optional<std::int64_t> clampMtime);

  // `lowers`: the folders below, topmost first; what the step copied up and did not change is left
  // out of the tar. Once sealed, a cache record is written under each of `keys`; `state` is the key
  // of the state after the step.
  void add(LayerRef layer, const Snapshot& below, std::vector<Digest> keys, const Digest& state,
           const StepLabel& step);

  [[nodiscard]] bool isIdle() const { return running_.empty() && waiting_.empty(); }
  [[nodiscard]] std::vector<int> fds() const;
  void reap();  // takes what has ended; throws what a child threw, with its step

 private:
  struct Job {
    LayerRef layer;
    std::vector<int> lowers;
    std::vector<Digest> keys;
    Digest state;
    StepLabel step;
    Child child;
  };
  void startNext();
  void finish(Job& job);

  const store::Layout& layout_;
  const StepCache& cache_;
  Progress& progress_;
  std::optional<std::int64_t> clampMtime_;
  std::vector<Job> running_;
  std::vector<Job> waiting_;
};

}  // namespace img::builder
