// What RUN, COPY, ADD and WORKDIR have in common: a cache key, a way to make the layer, and a
// history text.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>

#include "builder/cache.h"
#include "builder/cache_import.h"
#include "builder/context.h"
#include "builder/events.h"
#include "builder/failed_step.h"
#include "builder/http_source.h"
#include "builder/inputs.h"
#include "builder/plan.h"
#include "builder/progress.h"
#include "builder/sealer.h"
#include "builder/stage.h"
#include "builder/stat_cache.h"
#include "builder/task.h"
#include "builder/work_trees.h"
#include "network/pool.h"

namespace img::builder {

// Everything a step may use. One per build.
struct Workshop {
  const store::Layout& layout;
  const Scope& scope;
  const Context& context;
  StatCache* statCache;  // null: a build without a context
  Events& events;
  Progress& progress;
  std::map<int, Snapshot> stages;          // finished ones
  std::map<std::string, Snapshot> images;  // of COPY --from=IMAGE, by manifest digest
  RemoteAccess access;                     // to private sources of ADD
  network::NetworkPool& networks;          // of RUN
  WorkTrees& trees;                        // where nothing can be mounted
  ImportedCaches& imports;                 // --cache-from
  std::set<Digest> cacheMounts;            // identities of those that RUN steps name
};

struct LayerStep {
  // Of the step alone, without what lies below it; StepRunner adds that.
  Digest key;
  // ADD of a remote source: `key` is not known before somebody has looked at the source.
  std::function<Task<Digest>()> lateKey;
  // COPY --from: the key by content, computed only when `key` finds nothing.
  std::function<Task<Digest>()> contentKey;
  bool isIndependent = false;  // COPY --link: the state below does not matter
  // Fills the fresh layer over the state `below`, whose folders are there (openFolders is cheap).
  std::function<Task<>(Layer& layer, const Snapshot& below)> execute;
  // RUN: a shell on the caller's terminal in the environment of the step, over `below` and what
  // `layer` holds already.
  std::function<Task<>(Layer& layer, const Snapshot& below)> openShell;
  // Adds what the key was made of, but for the state below; called after contentKey, on a miss
  // only.
  std::function<void(InputList& list)> inputs;
  std::string createdBy;
  std::optional<StepCommand> command;  // RUN: for the failed step that is kept
};

LayerStep prepareRun(Workshop& shop, const PlannedStage& planned, const parser::Step& step,
                     const StageState& stage, const StepLabel& label);
LayerStep prepareCopy(Workshop& shop, const PlannedStage& planned, const parser::Step& step,
                      const StageState& stage);
// Also sets config.workingDir; nullopt when the path is "/".
std::optional<LayerStep> prepareWorkdir(Workshop& shop, const parser::Step& step,
                                        StageState& stage);

// The snapshot of a stored image.
Snapshot snapshotOf(const store::Image& image);

// Runs `work` in a worker process and waits for it through `events`; its result or error comes
// back.
Task<std::string> runWorker(Events& events, std::function<std::string()> work);
// What children that were killed (an interrupted build) have left in ingest/.
void sweepLitter(const store::Layout& layout) noexcept;
// One that stores something: what it leaves in ingest/ when it is killed is removed.
Task<std::string> runStoringWorker(Events& events, const store::Layout& layout,
                                   std::function<std::string()> work);
// Fetches and unpacks what `snapshot` needs and the store does not have yet, in worker processes.
Task<> unpackMissing(Events& events, const store::Layout& layout, const Snapshot& snapshot);

// The root that a worker fills: the union of `below` and the layer's folder, or the folder alone
// when there is nothing below.
Fd mountForWriting(const store::Layout& layout, const Layer& layer, const Snapshot& below);

// An error of the runtime, which may think of a command line of its own (exit code 125, "see
// --help"), as the error of a step.
Error stepError(const Error& error, std::string_view keyword);

// Later modification times become this one.
std::optional<timespec> latestTime(const Scope& scope);

// Epoch, which changes the bytes of every layer (Q28).
void addEpoch(Hasher& hasher, const Scope& scope);

}  // namespace img::builder
