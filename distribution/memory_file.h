// A file in memory, for what is given to or taken from another program: unlike a pipe it never
// makes the writer wait for a reader.
#pragma once

#include <string_view>

#include "base/fd.h"

namespace img::distribution {

// Positioned at its start. `name` is for messages and for /proc/PID/fd (memfd_create(2)).
Fd memoryFile(const char* name, std::string_view content = {});

}  // namespace img::distribution
