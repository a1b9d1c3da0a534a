// What the prune commands share: the question before, the parts, the sum after.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "cli/command.h"

namespace img::cli {

// docker's question; without an answer (no terminal, nothing piped in) it is an error, so that a
// script does not take silence for success. Throws Kind::failed unless the answer is yes.
void confirmPrune(Context& context, std::string_view warning);

struct Pruned {
  std::vector<std::string> lines;  // ids or names
  std::uint64_t bytes = 0;         // allocated
};
// Containers that do not run, with their anonymous volumes (lifecycle.cc).
Pruned pruneStoppedContainers(Context& context, const std::vector<std::string>& filters,
                              bool isDryRun);
// Volumes without containers; `all`: those with a name too (volumes.cc).
Pruned pruneUnusedVolumes(Context& context, const std::vector<std::string>& filters, bool all,
                          bool isDryRun);

}  // namespace img::cli
