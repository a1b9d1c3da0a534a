// What runs inside a container instead of `img` until the command is executed (container_init.c): a
// few KiB in a sealed memory file, so that no process of a container ever holds a handle of the
// host's binary (CVE-2019-5736, security.md F3).
#pragma once

#include <string>
#include <vector>

#include "base/fd.h"

namespace img::runtime {

// How it runs the command: in its own place; as a child, staying as PID 1; as a child of its
// parent, in the pid namespace this process has joined (with the terminal at descriptor 0 as its
// controlling one).
enum class InitMode { replace, supervise, join, joinWithTerminal };

// The sealed program. One is enough for any number of containers.
Fd makeContainerInit();

// Replaces this process by it, which then runs `path` with argv and env. Does not return; throws
// when execve(2) of the program itself fails.
[[noreturn]] void enterContainerInit(int program, InitMode mode, const std::string& path,
                                     const std::vector<std::string>& argv,
                                     const std::vector<std::string>& env);

}  // namespace img::runtime
