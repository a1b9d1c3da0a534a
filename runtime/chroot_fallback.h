// For machines whose root is an initramfs, where pivot_root(2) is impossible: only on request, by
// the variable IMG_NO_PIVOT_ROOT (security.md N3).
#pragma once

namespace img::runtime {

// Whether the caller asked for it.
bool isChrootAsked();

// Makes `root`, which is attached on top of "/", the root of this process, and keeps the host's
// tree out of reach: every proc and sysfs of the host is unmounted first, or covered where it
// cannot be. A process that climbs out of the chroot by ".." ends in `root` again, as the kernel
// steps onto whatever is mounted on "/".
void enterByChroot(int root);

}  // namespace img::runtime
