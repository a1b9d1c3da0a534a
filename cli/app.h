// From argv to an exit status: which command is meant, its run, and the one place where errors are
// shown.
#pragma once

#include <string>
#include <vector>

#include "cli/command.h"

namespace img::cli {

// The whole program. `argv[0]` chooses the command when its basename is imgX. Never throws.
int runMain(const std::vector<std::string>& argv);

// The same with a given table and context, for tests.
int runCommandLine(const CommandTable& table, Context& context,
                   const std::vector<std::string>& argv);

}  // namespace img::cli
