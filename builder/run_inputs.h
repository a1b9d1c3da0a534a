// The parts of a RUN's key by name, for the record of its inputs (cli.md 9.3).
#pragma once

#include "builder/inputs.h"
#include "builder/run_settings.h"

namespace img::builder {

void addRunInputs(InputList& list, RunSettings& settings, const StageState& stage,
                  const Request& request);

}  // namespace img::builder
