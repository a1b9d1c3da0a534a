// `img logs --build ID|last [STEP]`: what the steps of a build have written, whole, byte by byte.
#pragma once

#include <string>
#include <vector>

#include "cli/command.h"

namespace img::cli {

// `words`: at most one, the number of a step. Without it all steps come, each below its title.
int showBuildLog(Context& context, const std::string& build, const std::vector<std::string>& words);

}  // namespace img::cli
