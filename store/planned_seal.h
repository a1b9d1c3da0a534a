// Writes the tar of a planned layer: the bytes that sealing the folder would give, with the files
// read straight from their sources.
#pragma once

#include <functional>
#include <string>

#include "store/layer_indexer.h"
#include "store/part_digests.h"
#include "store/planned_layer.h"
#include "store/seal.h"
#include "store/xattrs.h"

namespace img::store {

struct PlanOptions {
  SealOptions seal;  // `lowers` is not looked at: the plan knows them
  // Which attributes of a source's file come along, of those that a layer can have.
  std::function<bool(const std::string& name)> takesXattr;
  // What a file gets that was planned unseen (mode, owner, time), by what its source is.
  std::function<struct stat(const struct stat& source)> asPlanned;
  struct OpenedSource {
    const PlannedNode& node;
    int file;
    const struct stat& st;
    bool hasXattrs;  // of any kind
  };
  // What is to be told the digest of a source's bytes, asked when it is open and about to be read;
  // a file that is left out, for it is the same below, is not asked for. Told by another thread.
  // May be empty; only for stagePlan().
  std::function<PartDigests::Tell(const OpenedSource& source)> digests;
  // Gets every entry; who gave it finishes it. May be null.
  LayerIndexer* indexer = nullptr;
  // Called when all is read and before the blob comes to be; what it throws leaves nothing behind.
  std::function<void()> check;
};

// Those of an open file or folder that `takes` says yes to.
Xattrs takenXattrs(int fd, const std::function<bool(const std::string& name)>& takes);

// Takes the plan apart while it goes, so that memory does not grow: nothing but its root is left.
// Throws Kind::failed when a source is not what it was when it was planned, and CannotPlan for a
// file with several names that was planned unseen and may be the same below.
SealResult writePlannedTar(PlannedLayer& layer, Sink& sink, const PlanOptions& options);
SealedLayer sealPlan(const Layout& layout, PlannedLayer& layer, const PlanOptions& options,
                     BlobWriter::Durability durability = BlobWriter::Durability::later);

// The same into a file, which is empty: the blob that adoptBlob() makes of it later, or nobody.
SealedLayer stagePlan(PlannedLayer& layer, int file, const PlanOptions& options);

}  // namespace img::store
