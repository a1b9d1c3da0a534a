// Which devices the processes of a container may use: a device cgroup, by a BPF program on the
// version 2 group or by the lists of version 1 (security.md N7, N9). Nodes that the container makes
// or brings in are inert by nodev already, so a group is needed only where that is not enough: for
// CAP_SYS_ADMIN, which mounts what it likes, for CAP_MKNOD, and for a device that may not be both
// read and written.
#pragma once

#include <linux/bpf.h>

#include <vector>

#include "runtime/cgroups.h"
#include "runtime/spec.h"

namespace img::runtime {

bool needsDeviceRules(const Spec& spec);

// Denies everything but the standard nodes, pseudo terminals and spec.devices; making nodes is
// allowed. Before a process is in the group. Where the machine cannot: an error when a device was
// restricted by the caller, else a warning.
void applyDeviceRules(Cgroup& group, const Spec& spec);

// The program, for tests.
std::vector<bpf_insn> deviceProgram(const Spec& spec);

}  // namespace img::runtime
