// What `img inspect` tells in HostConfig about namespaces, devices and kernel settings, under the
// key names of docker and podman.
#pragma once

#include "base/json.h"
#include "store/containers.h"

namespace img::cli {

Json namespaceFacts(const store::ContainerConfig& config, const store::ContainerState& state);

}  // namespace img::cli
