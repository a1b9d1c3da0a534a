// Bytes on their way to becoming a blob: written to a new file of the store while a second thread
// hashes them, which takes longer than writing, and given to the disk early, so that the sync at
// the end is short.
#pragma once

#include <cstdint>
#include <string>

#include "base/digest.h"
#include "base/stream.h"

namespace img::store {

struct StagedFile {
  Digest digest;
  std::uint64_t size = 0;
};

// All of `from` into `file`, which is empty. `name` opens messages. Not synced: adoptBlob() does.
StagedFile stageFile(Source& from, int file, const std::string& name);

}  // namespace img::store
