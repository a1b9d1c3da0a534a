// The look ahead before the first step: every needed stage is walked through with the variables it
// will have, and what would stop a later step is found now, all of it (cli.md 4, "Preflight"):
// words that cannot be expanded, values and flags, mounts, sources that the context does not have.
// Nothing is run, mounted or walked: a source costs one lookup. What only a running step can know
// (files of other stages, users of the image) is left to it.
#pragma once

#include "builder/context.h"
#include "builder/plan.h"
#include "builder/problems.h"
#include "builder/stage.h"

namespace img::builder {

// Adds to `problems` what planning has left to find. A stage whose base could not be found is
// looked at as far as its words do not depend on variables.
void preflight(const Plan& plan, const Scope& scope, const Context& context, Problems& problems);

}  // namespace img::builder
