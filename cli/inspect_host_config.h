// HostConfig and Mounts of `img inspect`: what the options of `run` have asked for, under docker's
// key names (cli.md 11).
#pragma once

#include <vector>

#include "base/json.h"
#include "runtime/spec.h"
#include "store/containers.h"

namespace img::cli {

Json hostConfigFacts(const store::ContainerConfig& config, const store::ContainerState& state);
Json mountFacts(const std::vector<store::MountRecord>& mounts);

// What --security-opt and --privileged come to.
runtime::Spec rightsOf(const store::ContainerConfig& config);

}  // namespace img::cli
