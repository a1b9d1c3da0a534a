// The union of layers where nothing may be mounted: a copy of what it would show (an unprivileged
// container has neither mount(2) nor user namespaces). Whether this process copies is decided once,
// early, as the user namespace it runs in is.
#pragma once

#include <vector>

namespace img::store {

// From now on this process mounts nothing: mountOverlay() refuses with the reason.
// `hasTrustedXattrs`: whether folders can be marked as root's unions want it (xattr(7), trusted.*
// needs CAP_SYS_ADMIN).
void copyUnions(bool hasTrustedXattrs);
bool copiesUnions();
// Whether marks in layers are user.overlay.* here.
bool usesUserMarks();

// Fills the empty folder `to` with the union of `folders`, topmost first. Files that have several
// names in a layer have them in the copy.
void copyUnion(const std::vector<int>& folders, int to);

// Gives every name below `folder` a file of its own. In a mounted union a write through one name
// leaves the others alone (overlayfs.rst, "Non-standard behavior"), and layers have to come out the
// same. True when there was something to do.
bool separateLinks(int folder);

}  // namespace img::store
