// Which images a build will ask for, as far as the file says before any of them is there (their
// ONBUILD triggers may name more): whoever has to fetch them can do so side by side.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "builder/plan.h"

namespace img::builder {

// Of FROM, COPY --from and RUN --mount=from= in the stages that the target needs, in the order in
// which the planner asks, each once. `stages`: all of the file, FROM lines evaluated. `platform`:
// of those that say nothing. `isOther`: a name that means no image, whatever it looks like.
std::vector<WantedImage> wantedImages(const parser::Dockerfile& file,
                                      const std::vector<PlannedStage>& stages, int target,
                                      const std::optional<parser::Platform>& platform,
                                      const std::function<bool(const std::string&)>& isOther);

}  // namespace img::builder
