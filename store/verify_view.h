// An unpacked layer (layers/<diff id>/fs) against the tar it stands for, entry by entry as the tar
// streams by: type, mode, owner, size, times, attributes, link targets, bytes, and what is there
// beside. Nothing is written and nothing but the names is remembered. The rules for what a tar
// makes of a folder are those of unpack.cc and tree_writer.cc.
#pragma once

#include <string>
#include <vector>

#include "base/stream.h"

namespace img::store {

struct ViewProblem {
  std::string path;  // in the layer; empty: its root
  std::string problem;
};

struct ViewRules {
  // The folder was not unpacked but is what a step wrote: files that a step has touched and not
  // changed, and marks that hide nothing, are in the folder and not in the tar (seal.h).
  bool isSealed = false;
  // What may lie below such a layer, each topmost first (descriptors of lowerdirs): what the tar
  // leaves out has to be the same there. None: it cannot be told.
  std::vector<std::vector<int>> stacks;
};

// At most `limit` problems. Throws Kind::corrupt when `tar` is no tar, Kind::failed when the
// folder or the tar cannot be read.
std::vector<ViewProblem> compareView(int root, Source& tar, const std::string& name,
                                     const ViewRules& rules, size_t limit = 100);

}  // namespace img::store
