// Where nothing can be mounted, a step works on a copy of what lies below it (store/union_copy.h).
// The copy is kept: with the step's changes it is what the next step of the stage works on, so
// that only the first one pays. All of it lies in ingest/ and goes with the build.
#pragma once

#include <sys/types.h>

#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "base/fd.h"
#include "builder/events.h"
#include "builder/snapshot.h"
#include "builder/task.h"
#include "store/layout.h"

namespace img::builder {

struct Workshop;

struct WorkTree {
  store::IngestDir work;  // tree/ and aside/, where things are kept while something stands for them
  Fd root;                // tree/
  // The folders of the layers it shows, topmost first.
  using FolderId = std::pair<dev_t, ino_t>;
  std::vector<FolderId> layers;
  bool isLookedAt = false;   // by a step that copies from it or mounts it: stays as it is
  bool isSeparated = false;  // names that shared a file in a layer do not any more

  explicit WorkTree(const store::Layout& layout);
};

class WorkTrees {
 public:
  // A tree of `below` to change; nobody else has it.
  Task<std::unique_ptr<WorkTree>> take(Workshop& shop, const Snapshot& below);
  // It shows `layer` now, over what it showed before.
  void give(std::unique_ptr<WorkTree> tree, const Layer& layer);
  // A tree to look at, until the build ends.
  Task<int> open(Workshop& shop, const Snapshot& snapshot);

 private:
  std::unique_ptr<WorkTree> findIdle(const std::vector<WorkTree::FolderId>& layers, bool isChanged);

  std::vector<std::unique_ptr<WorkTree>> idle_;  // oldest first
};

// Read-only: a mount, or a tree where there are none.
Task<Fd> openView(Workshop& shop, const Snapshot& snapshot);

// Fills the layer in a worker process, which gets the union of `below` and the layer to write to.
// `upper`: the layer's folder when the root is a mounted union, else -1.
using FillLayer = std::function<void(int root, int upper)>;
Task<> fillLayer(Workshop& shop, Layer& layer, const Snapshot& below, FillLayer fill);

}  // namespace img::builder
