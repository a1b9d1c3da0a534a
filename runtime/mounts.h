// Detached mounts, made by the kernel's file-descriptor interface (fsopen(2), open_tree(2)): nobody
// can see or change them before they are attached.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/fd.h"
#include "runtime/spec.h"

namespace img::runtime {

struct MountOption {
  std::string key;
  std::string value;  // empty: a flag
};

Fd makeMount(const std::string& type, unsigned attributes,
             const std::vector<MountOption>& options = {});

// A detached mount of one folder or file below `dir` ("": of `dir` itself), mounts below it
// included if asked.
Fd cloneMount(int dir, const std::string& path, bool isRecursive = false);

// What spec.mounts asks for, as detached private trees with their attributes set, in the same
// order. Must run in the namespace the sources were opened in: open_tree(2) refuses to clone
// another namespace's mounts. For a container with a user namespace (>= 0) the trees are ID-mapped
// where their file systems allow it: what root has on the disk, root of the container has; and a
// tmpfs, whose options name ids of that namespace, is left out for makeTmpfs() there.
std::vector<Fd> prepareMounts(const std::vector<Mount>& mounts, int userNamespace = -1);
Fd makeTmpfs(const Mount& mount);

// "size=64m,mode=1777" as options.
std::vector<MountOption> parseMountOptions(std::string_view options);

}  // namespace img::runtime
