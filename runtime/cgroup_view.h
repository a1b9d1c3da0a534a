// What a container sees of its control groups at /sys/fs/cgroup: its own and nothing above, never
// writable (security.md N10). Programs size themselves by memory.max and cpu.max, or by the files
// of version 1.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "base/fd.h"
#include "runtime/cgroups.h"
#include "runtime/spec.h"

namespace img::runtime {

struct CgroupView {
  // Version 2 alone: the tree is mounted in the container's own cgroup namespace.
  bool isUnified = false;
  // Mixed setups: {"memory", the group's folder as a detached mount} for each hierarchy that the
  // container has a group of its own in. Without any limit there is none to see.
  std::vector<std::pair<std::string, Fd>> trees;
};

// In the caller's mount namespace, once the groups exist.
CgroupView prepareCgroupView(const Cgroup& group);

// Below the container's root, when /sys is mounted.
void mountCgroupView(int root, const CgroupView& view, const Spec& spec);

}  // namespace img::runtime
