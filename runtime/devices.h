// The container's /dev: a tmpfs filled by descriptor before the image is touched (security.md N7),
// its own devpts, shared memory and message queues, and the console when there is a terminal.
#pragma once

#include <cstdint>
#include <optional>

#include "base/fd.h"
#include "runtime/spec.h"

namespace img::runtime {

struct Terminal {
  Fd master;
  Fd slave;
};

struct Devices {
  Fd folder;  // the tmpfs, attached
  Fd null;    // its null device, open for reading and writing
  std::optional<Terminal> terminal;
};

inline constexpr gid_t kTtyGroup = 5;

// Attaches a fresh /dev below `root`. With spec.privileged the host's device nodes are there too.
// `hasTtyGroup`: terminals belong to the group tty, which not every user namespace has.
Devices mountDevices(int root, const Spec& spec, bool hasTtyGroup);

// A new pty from the devpts mounted at `pts`, which is checked to be one (security.md N7).
Terminal openTerminal(int pts);

}  // namespace img::runtime
