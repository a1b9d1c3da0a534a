// The union: init layer over image layers, upper for writes (kernel
// Documentation/filesystems/overlayfs.rst). Mounted detached by fsopen/fsmount where the kernel has
// it: the caller attaches it where it likes.
#pragma once

#include <vector>

#include "base/fd.h"

namespace img::store {

struct OverlaySpec {
  std::vector<int> lowers;  // directory descriptors, topmost first (init layer first)
  int upper = -1;           // -1: read-only union
  int work = -1;            // empty folder on the file system of upper
  bool isVolatile = false;  // no sync at unmount: for uppers that are thrown away or sealed by hash
};

// A detached mount of the union. Options: redirect_dir=off, metacopy=off, index=off.
// Throws with a hint when the store lies on a file system that overlayfs refuses as upper.
Fd mountOverlay(const OverlaySpec& spec);

}  // namespace img::store
