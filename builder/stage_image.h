// From the state of a stage to an image: config, history with times, manifest (dockerfile.md 7).
#pragma once

#include "builder/request.h"
#include "builder/stage.h"
#include "store/images.h"
#include "store/layout.h"

namespace img::builder {

// The config of the result, history included, without diff IDs. `epoch`: the time of everything in
// it; nullopt: the times of the layers.
store::ImageConfig stageConfig(const StageState& stage, const Request& request,
                               std::optional<std::int64_t> epoch);

// Writes config and manifest blobs; no name is given to them. Every layer of `stage` is sealed.
// A config that holds a secret of the build is refused (or told to `progress`).
store::Image writeStageImage(const store::Layout& layout, const StageState& stage,
                             const Request& request, Progress& progress);

}  // namespace img::builder
