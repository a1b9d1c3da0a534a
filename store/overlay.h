// The union: init layer over image layers, upper for writes (kernel
// Documentation/filesystems/overlayfs.rst). Mounted detached by fsopen/fsmount where the kernel has
// "lowerdir+", so that no path and no option page limits the number of layers; else by mount(2) in
// a private mount namespace of a forked child, whose mount comes back as a detached clone.
#pragma once

#include <vector>

#include "base/fd.h"
#include "store/id_mapping.h"

namespace img::store {

inline constexpr size_t kMaxLowers = 500;  // OVL_MAX_STACK, fs/overlayfs/super.c

struct OverlaySpec {
  std::vector<int> lowers;  // directory descriptors, topmost first (init layer first)
  int upper = -1;           // -1: read-only union
  int work = -1;            // empty folder on the file system of upper
  bool isVolatile = false;  // no sync at unmount: for uppers thrown away or sealed by hash
  // Marks in user.overlay.* instead of trusted.overlay.*. Always so in a user namespace, where the
  // others are out of reach (overlayfs.rst, "userxattr").
  bool userXattr = false;
  IdMapping mapping = {};
};

enum class OverlayMethod {
  probe,      // the newest that works
  newApi,     // fsopen, "lowerdir+"
  mountCall,  // mount(2) in a child: kernels before "lowerdir+", and one lower without an upper
};

// Whether attributes trusted.* are within reach, as root's marks in layers are.
bool hasTrustedXattrs();

// A detached mount of the union. Options: redirect_dir=off, metacopy=off, index=off.
// A lower that is opaque as a whole hides the lowers after it.
// Throws with a hint when the store lies on a file system that overlayfs refuses as upper.
// For single-threaded processes (mountCall forks).
Fd mountOverlay(OverlaySpec spec, OverlayMethod method = OverlayMethod::probe);

}  // namespace img::store
