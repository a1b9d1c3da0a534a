// The last steps before a program of a container runs, in the order of security.md P1, P2, P5 and
// P6. Everything fails closed, and what was set is read back.
#pragma once

#include "runtime/security.h"
#include "runtime/spec.h"

namespace img::runtime {

// Signals, session, umask, keyring, limits: nothing of the caller's survives (P5, P6).
void cleanProcessState(const Spec& spec);

// Bounding set, groups, user, capability sets (P1 order), verified. The seccomp filter goes on
// before when it needs the caller's privilege, and after when no_new_privs is set (P7).
void becomeUser(const Spec& spec, const Identity& identity);

// Death of the parent ends this process. The kernel forgets it when ids change, so it is set more
// than once.
void dieWithParent();

}  // namespace img::runtime
