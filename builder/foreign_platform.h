// Whether this machine can run programs of an image of another platform (cli.md 4, `arch`).
#pragma once

#include <string>

#include "store/oci.h"

namespace img::builder {

// Throws with code "arch" when neither the processor nor a handler of binfmt_misc runs programs of
// `platform`. An empty architecture is anybody's. `handlers`: where the kernel lists them.
void requireRunnable(const store::Platform& platform,
                     const std::string& handlers = "/proc/sys/fs/binfmt_misc");

}  // namespace img::builder
