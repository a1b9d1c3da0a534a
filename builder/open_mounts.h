// The --mount options of a RUN, opened for its container (dockerfile.md 3.6, security.md B3, S1).
// What a mount shows never gets into the layer: targets that the image lacks are made in the init
// layer (store/rootfs.h).
#pragma once

#include <list>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "builder/run_mounts.h"
#include "builder/ssh_agent.h"
#include "runtime/spec.h"
#include "store/rootfs.h"

namespace img::builder {

// What the container gets, and what must live as long as it does.
struct OpenMounts {
  std::vector<runtime::Mount> mounts;
  std::vector<store::MountPoint> mountPoints;  // that the image may lack
  std::vector<std::pair<std::string, std::string>> env;
  std::map<std::string, OpenCache> caches;  // by identity
  std::list<OwnAgent> agents;
  std::list<AgentRelay> relays;
};

// Throws for a secret or an agent that is required and was not passed to the build.
void requirePassed(const parser::RunMount& mount, const StepOptions& options);

// `work`: the step's folder; what the mounts need on disk goes into its folder "mounts".
Task<> openMounts(Workshop& shop, RunMounts& mounts, int work, OpenMounts& open);

}  // namespace img::builder
