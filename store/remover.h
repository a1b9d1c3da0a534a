// Removing a tree that nobody needs any more and that somebody is waiting behind: what a killed
// command has left, or what one that was interrupted leaves. A small one goes at once; a large one
// is left to a process of its own that outlives this one, so that a command ends, and the next one
// begins, as fast as with an empty store (reliability.md G4, G6). The tree's lock goes over to that
// process: nobody else takes the tree for litter, and when it is killed the next recover() goes on.
#pragma once

#include <string>

#include "base/fd.h"

namespace img::store {

// Removes the entry `name` of the folder `dir`; `locked` is that entry, open and locked by flock,
// and nothing else holds that lock by its descriptor. On return the entry is gone, or somebody is
// at it.
void removeSoon(int dir, const std::string& name, Fd locked);

}  // namespace img::store
