// The control groups of a container, by its record: where they lie was written down when it
// started; before that, and after a keeper died too early, they are found by name.
#pragma once

#include <string>

#include "runtime/cgroups.h"
#include "runtime/spec.h"
#include "store/containers.h"
#include "store/layout.h"

namespace img::cli {

// --cgroups, --cgroup-parent and the limits as the runtime takes them.
void applyCgroups(const store::ContainerConfig& config, runtime::Spec& spec);

// Its name for runtime::CgroupTree; empty: it has none (--cgroups disabled).
std::string cgroupNameOf(const store::ContainerConfig& config);
runtime::Cgroup groupOf(const store::ContainerRecord& record);

// The groups that a keeper which was killed left behind, with all that still lives in them.
void dropCgroup(const store::ContainerRecord& record);
// The same for every container of this store that nobody keeps, and for steps of builds that are
// gone.
void dropStrayCgroups(const store::Layout& layout);

}  // namespace img::cli
