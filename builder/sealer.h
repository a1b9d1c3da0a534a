// Seals the layers of finished steps in child processes while later steps run (architecture.md 4).
// Single-threaded owner; pollable: before it waits it calls startNext(), fds() become readable when
// a child has ended, and reap() then takes its result. A child is not started at once, so that the
// next step's command, which needs no seal, is on its way first.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/process.h"
#include "builder/cache.h"
#include "builder/inputs.h"
#include "builder/progress.h"
#include "builder/snapshot.h"
#include "builder/step_locks.h"
#include "builder/step_options.h"
#include "builder/trace.h"
#include "store/layout.h"

namespace img::builder {

class Sealer {
 public:
  // `options`: the secrets that no layer may hold.
  Sealer(const store::Layout& layout, const StepCache& cache, Progress& progress,
         std::optional<std::int64_t> clampMtime, const StepOptions& options);

  Sealer(const Sealer&) = delete;
  Sealer& operator=(const Sealer&) = delete;
  ~Sealer();  // kills who still seals

  struct Work {
    LayerRef layer;
    std::vector<Digest> keys;  // once sealed, a cache record is written under each
    Digest state;              // the key of the state after the step
    Digest own;                // the step without what lies below it
    StepLabel step;
    StepLock lock;  // freed when the records are there
    std::shared_ptr<const InputRecord> inputs;
    Position place = {};     // of the instruction, for errors
    std::string stage = {};  // `stage "build", step 4/9`
  };
  void setTrace(Trace* trace) { trace_ = trace; }
  // What the step copied up from `below` and did not change is left out of the tar. The child also
  // makes the layer's view and writes the records.
  void add(Work work, const Snapshot& below);

  [[nodiscard]] bool isIdle() const { return running_.empty() && waiting_.empty(); }
  void startNext();  // as many children as there is room for
  [[nodiscard]] std::vector<int> fds() const;
  void reap();  // takes what has ended; throws what the first child threw, with its step

 private:
  struct Job {
    Work work;
    Snapshot below;  // keeps `lowers` open: the stage may have ended before its layers are sealed
    std::vector<int> lowers;
    Child child;
    Trace::Span span = {};
  };
  [[nodiscard]] std::string sealInChild(const Job& job) const;
  void finish(Job& job) const;
  void writeRecords(const Work& work) const;
  void addSealed(const Work& work) const;

  const store::Layout& layout_;
  const StepCache& cache_;
  Progress& progress_;
  std::optional<std::int64_t> clampMtime_;
  const StepOptions& options_;
  Trace* trace_ = nullptr;
  std::vector<Job> running_;
  std::vector<Job> waiting_;
};

}  // namespace img::builder
