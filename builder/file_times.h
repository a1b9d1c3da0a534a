// File times under SOURCE_DATE_EPOCH, in a layer that later steps are going to read.
#pragma once

#include <cstdint>

namespace img::builder {

// Later modification times below `folder` become `epoch`, links themselves included. The tar of the
// layer has them like that (store/seal.h); a step that runs on the folder must not see other times
// than one that runs on the unpacked tar, or a result that depends on them differs from machine to
// machine.
void clampFileTimes(int folder, std::int64_t epoch);

}  // namespace img::builder
