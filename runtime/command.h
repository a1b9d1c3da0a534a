// Finds the program of a container inside it, and says in words why one cannot be run (security.md
// F4, cli.md 3).
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace img::runtime {

inline constexpr std::string_view kDefaultPath =
    "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

// The path to execute, in the process's own root and working folder. Throws with exit code 127 when
// there is nothing, 126 when what is there cannot be executed.
std::string findCommand(const std::string& name, const std::vector<std::string>& env);

// What execve(2)'s error means for `path`: a missing interpreter, another architecture, no header
// at all.
Error explainExecFailure(int errnum, const std::string& path);

}  // namespace img::runtime
