// --restart: whether a container that has ended is started again, and how long to wait before.
#pragma once

#include <chrono>

#include "store/containers.h"

namespace img::cli {

bool isRestartWanted(const store::RestartRecord& restart, int exitCode, int restartsSoFar);

// Docker's: 100 ms, then twice as long each time up to a minute, and from the beginning after ten
// seconds in which it ran. `last` 0: there was none yet.
std::chrono::milliseconds restartDelay(std::chrono::milliseconds last,
                                       std::chrono::milliseconds ranFor);

}  // namespace img::cli
