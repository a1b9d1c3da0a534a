// A command that its caller can leave behind (detach keys): the work is done by a child that has
// the terminal, and this process waits for it. When the caller goes away from it, the child becomes
// a background process and this one ends. Killed before that, it takes the child along.
#pragma once

#include <functional>

namespace img::cli {

// `detach` is to be called in the child, when the terminal is as it was before.
using Detach = std::function<void()>;

// The exit status that `work` returns, or 0 when it was left behind; what it throws before that is
// thrown here. `inParent` runs in this process right after the fork: to let go of what now belongs
// to the child.
int runInForeground(const std::function<int(const Detach& detach)>& work,
                    const std::function<void()>& inParent);

}  // namespace img::cli
