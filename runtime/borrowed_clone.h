// A child in the memory of its parent, which sleeps until the child has executed a program or has
// ended, as with vfork(2), and with all that clone3(2) can do: no page tables are copied and torn
// down again, and no page is copied because both have it.
#pragma once

#include <linux/sched.h>

#include <functional>

#include "runtime/launched.h"

namespace img::runtime {

// Like cloneChild(). The child has descriptors, signal handlers and credentials of its own; what it
// does to the memory stays: it closes descriptors by number where the caller goes on using the
// object, and what it has on the heap when it executes a program is lost. `child` does not return.
// Single-threaded callers only. Where it is not possible, the child gets a copy as ever.
Launched cloneBorrowing(clone_args args, const std::function<void()>& child);

}  // namespace img::runtime
