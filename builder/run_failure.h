// What is told of a RUN whose command ended badly: exit code or signal, why, and what to do about
// it (cli.md 4: `oom`, `no-space`, a network that was not there).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/process.h"
#include "store/layout.h"

namespace img::builder {

struct RunOutcome {
  std::string command;  // as it is shown
  ExitStatus status;
  std::vector<std::string> lastLines;  // of its output
  bool isOutOfMemory = false;
  std::optional<std::int64_t> memoryLimit;  // bytes
  std::optional<std::uint64_t> memoryPeak;
  bool isWithoutNetwork = false;  // because there could not be one
  bool hasOneId = false;          // the user namespace has no id but 0
};

// While the files of the step are still there: the room on the disk is part of the story.
Error runFailure(const RunOutcome& outcome, const store::Layout& layout);

}  // namespace img::builder
