// The mount side of a container: its root attached in a new mount namespace, /proc, /sys and /dev,
// volumes, the small files, masked and read-only paths, and the pivot (security.md sections 4 and
// 5).
#pragma once

#include <string>
#include <vector>

#include "base/fd.h"
#include "runtime/cgroup_view.h"
#include "runtime/devices.h"
#include "runtime/spec.h"

namespace img::runtime {

// Builds the tree on `root` (a detached mount). `mounts` are the trees of
// prepareMounts(spec.mounts). The caller is in a fresh mount namespace whose propagation is
// private.
Devices assembleRootfs(int root, const Spec& spec, const std::vector<Fd>& mounts,
                       const CgroupView& cgroups = {});

// The paths of /proc and /sys that assembleRootfs() covers and makes read-only, for `inspect`:
// those of the kernel that runs here among them.
std::vector<std::string> maskedPaths(const Spec& spec);
std::vector<std::string> readOnlyPaths(const Spec& spec);

// The working folder of a command, made in `root` where it is missing.
void makeWorkingFolder(int root, const std::string& path);

// Makes `root` the root of this mount namespace and lets go of everything of the host (security.md
// N3).
void pivotInto(int root);

}  // namespace img::runtime
