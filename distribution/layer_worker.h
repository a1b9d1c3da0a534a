// One layer of a pull, in a forked process of its own: the raw bytes go into the partial download
// and its SHA-256, and at the same time through the decompressor into the view. It asks the pull,
// which has the session, for bytes, and tells how far it is.
#pragma once

#include <cstdint>
#include <string>

#include "store/layout.h"
#include "store/oci.h"

namespace img::distribution {

struct LayerTask {
  store::Descriptor blob;
  Digest diffId;
};

// Messages of a worker: {"want": OFFSET, "again": BOOL} with the write end of a pipe, to be
// answered by {} or {"error": {...}} when the transfer has ended; {"bytes": N}, so far;
// {"waiting": BOOL}, for another process that downloads the same blob.
//
// Runs in the worker. Afterwards the blob and the view are in the store. Returns "new", or "there"
// when another process had them meanwhile.
std::string fetchLayer(const store::Layout& layout, const LayerTask& task, int socket);

}  // namespace img::distribution
