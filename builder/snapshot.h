// A chain of layers that can be mounted, while some of them are still being sealed. A layer made by
// a step exists first as a folder in ingest/, is the next step's lower folder at once, and gets its
// diff ID later (architecture.md 4).
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/digest.h"
#include "base/fd.h"
#include "builder/task.h"
#include "store/layout.h"
#include "store/oci.h"

namespace img::builder {

class Events;
class LayerSource;

struct Layer {
  // Known at once for layers from the store, after sealing for new ones.
  std::optional<store::Descriptor> descriptor;
  std::optional<Digest> diffId;
  std::uint64_t bytes = 0;
  std::string created;       // RFC 3339
  bool isNew = false;        // made by this build
  bool isRepeatable = true;  // false: not what its key says, so no later build may get it
  bool isStarted = false;    // RUN: the command was executed, whatever came of it
  // Who brings the blob, which the store does not have yet; null: it is there. Until then there is
  // no descriptor.
  std::shared_ptr<LayerSource> source;
  // The lower folder. Opened at first use for stored layers (they may not be unpacked yet).
  Fd folder;
  std::unique_ptr<store::IngestDir> work;  // new layers: ingest/<x>/{fs,work,init}
};
using LayerRef = std::shared_ptr<Layer>;

// Brings the blobs of layers that were found in an imported cache, once somebody needs their files.
class LayerSource {
 public:
  LayerSource() = default;
  LayerSource(const LayerSource&) = delete;
  LayerSource& operator=(const LayerSource&) = delete;
  virtual ~LayerSource() = default;
  // Afterwards the layers have a descriptor and no source any more. Throws LayersLost.
  virtual Task<> fetch(Events& events, std::vector<LayerRef> layers) = 0;
};

// A layer that was counted on cannot be had: the build starts anew without it. Its finished steps
// are found again.
struct LayersLost {};

struct Snapshot {
  std::vector<LayerRef> layers;  // bottom first
  Digest key;                    // definition key of the state: equal key, same files
};

// To be awaited before the files or the blobs of `snapshot` are needed.
Task<> fetchMissing(Events& events, const Snapshot& snapshot);

// Makes sure every layer has a folder (unpacking stored ones); returns the folders topmost first.
std::vector<int> openFolders(const store::Layout& layout, const Snapshot& snapshot);

// Whether openFolders would have to unpack a layer.
bool isUnpackingNeeded(const store::Layout& layout, const Snapshot& snapshot);

// A read-only union of the snapshot, detached; an empty snapshot gives an empty folder.
Fd mountReadOnly(const store::Layout& layout, const Snapshot& snapshot);

// A fresh layer in ingest/ with folders fs (the upper) and work.
LayerRef newLayer(const store::Layout& layout);

}  // namespace img::builder
