// A further process inside a running container: joins all namespaces and the cgroup of its PID 1,
// with the container's capabilities and seccomp filter (cli.md 11 exec, security.md F1-F5, U4).
#pragma once

#include "runtime/launch.h"
#include "runtime/spec.h"

namespace img::runtime {

// Only argv, env, cwd, user, groupAdd, standard descriptors, tty, capabilities, seccomp,
// noNewPrivs, privileged of `spec` count. `pidfd` is the container's PID 1. Throws as start() does.
// `patienceMs` (-1: without end) is for the start alone: processes of the container can stop the
// new one before it has become the command, and who must not hang says how long that may take.
Container execute(int pidfd, pid_t pid, const Spec& spec, int patienceMs = -1);

}  // namespace img::runtime
