// A command in a root of its own and in nothing else of its own: for callers that may make neither
// namespaces nor mounts, such as root of an unprivileged container. What confines it is what the
// kernel gives without them: the root folder, the user, few capabilities, no_new_privs, seccomp and
// limits. Processes, network and host name are the caller's.
#pragma once

#include "runtime/launch.h"

namespace img::runtime {

// Throws with what is missing: root with the capabilities that a step needs.
void checkChrootRights();
bool hasChrootRights();

// `root`: the folder that becomes "/". Of `spec` only what concerns the process counts; the caller
// has refused the rest. Container::pid() is the command; when it ends, or the Container or this
// process does, every process that it has left is killed before the end is reported.
// The calling process must be single-threaded.
Container startInChroot(const Spec& spec, int root);

// The standard nodes in an empty /dev. False: nodes cannot be made or used there, and null is a
// plain file that everybody may write to.
bool fillDevices(int folder);

}  // namespace img::runtime
