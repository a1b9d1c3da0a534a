// What the mounts of a container's record stand for, opened: folders of the host, volumes, images,
// and throw-away layers over them (cli.md 10.3).
#pragma once

#include <vector>

#include "runtime/spec.h"
#include "store/containers.h"
#include "store/layout.h"

namespace img::cli {

// Throws Kind::notFound for a source that is not there. Throw-away layers begin empty each time.
runtime::Mount openMount(const store::Layout& layout, const store::ContainerConfig& config,
                         const store::MountRecord& record);
std::vector<runtime::Mount> openMounts(const store::Layout& layout,
                                       const store::ContainerConfig& config);

}  // namespace img::cli
