// What runs inside a container instead of `img` until the command is executed (container_init.c): a
// few KiB in a sealed memory file, so that no process of a container ever holds a handle of the
// host's binary (CVE-2019-5736, security.md F3).
#pragma once

#include <string>
#include <vector>

#include "base/fd.h"

namespace img::runtime {

// The sealed program. One is enough for any number of containers.
Fd makeContainerInit();

// Replaces this process by it, which then runs `path` with argv and env: as itself, or as a child
// with isInit. Does not return; throws when execve(2) of the program itself fails.
[[noreturn]] void enterContainerInit(int program, bool isInit, const std::string& path,
                                     const std::vector<std::string>& argv,
                                     const std::vector<std::string>& env);

}  // namespace img::runtime
