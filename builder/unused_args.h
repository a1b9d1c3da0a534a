// Build arguments that nothing declares: a warning (dockerfile.md 3.3, Q14).
#pragma once

#include "builder/plan.h"
#include "builder/progress.h"
#include "builder/stage.h"

namespace img::builder {

// The plan knows the triggers of the base images, which may declare some.
void warnAboutUnusedArgs(const Scope& scope, const Plan& plan, Progress& progress);

}  // namespace img::builder
