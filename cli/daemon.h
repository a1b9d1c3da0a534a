// A process of ours that outlives the command that started it: own session, streams on /dev/null,
// working directory "/", nothing of the caller's left open.
#pragma once

#include <functional>
#include <string>

namespace img::cli {

using Ready = std::function<void(const std::string& answer)>;

// What makes this process one: own session, streams on /dev/null, nothing inherited left open.
void becomeDaemon();

// Runs `work` in a forked process and returns what that gives to `ready`, which it calls once. What
// `work` throws before that is thrown here; later nobody listens, so `work` keeps its own record of
// failures. `inParent` runs in this process right after the fork: to let go of what now belongs to
// the other.
std::string spawnDaemon(const std::function<void(const Ready& ready)>& work,
                        const std::function<void()>& inParent);

}  // namespace img::cli
