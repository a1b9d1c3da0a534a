// The child side of a container: the ordered steps from the fresh namespaces to execve (security.md
// P7). Runs in a process made by clone3 from a single-threaded one; every failure travels to the
// parent over the error pipe.
#pragma once

#include <string>
#include <vector>

#include "base/error.h"
#include "base/fd.h"
#include "runtime/cgroup_view.h"
#include "runtime/devices.h"
#include "runtime/spec.h"

namespace img::runtime {

// What the parent made ready for the child.
struct ChildSide {
  Fd errors;          // write end of the error pipe
  Fd go;              // a byte comes when spec.onCreated is done; empty: nothing to wait for
  Fd terminalSocket;  // where the pty's master goes (spec.tty)
  // With a user namespace: where rootfs and the bind mounts come through once it has its ids.
  Fd trees;
  Fd program;               // makeContainerInit()
  Fd rootfs;                // detached mount
  std::vector<Fd> mounts;   // prepareMounts(spec.mounts)
  std::vector<Fd> cgroups;  // cgroup.procs files to enter
  Fd network;               // made already: EarlyNetwork
  bool unshareCgroup = false;
  CgroupView cgroupView;  // for /sys/fs/cgroup
};

// PID 1 of a new container.
[[noreturn]] void runContainer(const Spec& spec, ChildSide side);

// What a new container and a further process in one have in common: from "all namespaces are
// joined, the root is the container's" to the command. `null` is a null device, `terminal` the pty
// if there is one.
struct Stage {
  int null = -1;
  std::optional<Terminal> terminal;
  // A further process in a container: this one stays outside its pid namespace and leaves the
  // command behind there. A bad working folder counts as a command that cannot be run.
  bool isFurther = false;
};
[[noreturn]] void becomeCommand(const Spec& spec, ChildSide side, Stage stage);

// Sends the error in flight and ends the process.
[[noreturn]] void reportAndExit(int errors, const char* step) noexcept;

// False when the reader of `pipe` is gone, which is how a child in another pid namespace learns of
// its parent's death.
bool hasReader(int pipe);

}  // namespace img::runtime
