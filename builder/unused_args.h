// Build arguments that nothing declares: a warning (dockerfile.md 3.3, Q14).
#pragma once

#include "builder/progress.h"
#include "builder/stage.h"

namespace img::builder {

void warnAboutUnusedArgs(const Scope& scope, Progress& progress);

}  // namespace img::builder
