// An archive to a file or to standard output (save, export): a file appears whole or not at all,
// and a terminal gets nothing.
#pragma once

#include <functional>
#include <string>

#include "base/stream.h"
#include "cli/command.h"

namespace img::cli {

// `path` empty or "-": standard output. What is no regular file (a pipe, /dev/stdout) is written to
// directly.
void writeOutput(Context& context, const std::string& path,
                 const std::function<void(Sink&)>& write);

}  // namespace img::cli
