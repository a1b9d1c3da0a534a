// The root file system of an ordinary user's container with ids of its own (--userns keep-id,
// nomap,
// --uidmap). The kernel maps ids of mounts for root only, so the container gets a copy of its image
// with the ids that its map leads to, in containers/<id>/shifted, and its upper is moved to them
// for as long as it runs: containers/<id>/shift says so, and how. Everybody else then finds the ids
// that the container saw, as with every other container.
#pragma once

#include "base/fd.h"
#include "runtime/spec.h"
#include "store/containers.h"
#include "store/layout.h"
#include "store/rootfs.h"

namespace img::cli {

// By the keeper, before the start.
Fd mountShifted(const store::Layout& layout, const store::ContainerConfig& config,
                const store::RootfsSpec& rootfs, const runtime::UserNamespace& user);
// By the keeper at the end. Nothing without a mark.
void shiftBackQuietly(const store::Layout& layout, const store::ContainerConfig& config);
// For those that read an upper; where a keeper was killed it moves the files back. Throws
// Kind::busy while the container runs.
void requireOwnIds(const store::Layout& layout, const store::ContainerRecord& record);

}  // namespace img::cli
