// Processor architectures: their names in images, in ELF headers and in binfmt_misc, and why a
// program of another one cannot be executed (cli.md 4, `arch`).
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/error.h"
#include "runtime/spec.h"

namespace img::runtime {

// Where the kernel lists its handlers.
inline constexpr char kBinfmtFolder[] = "/proc/sys/fs/binfmt_misc";

// The name that images use ("arm64") for the machine in the ELF header `head` begins with;
// "ELF machine 94" for one that has none. nullopt: no ELF header.
std::optional<std::string> elfArchitecture(std::string_view head);
// Of this machine.
std::string hostArchitecture();

// The program that the #! line at the start of `head` names. Empty: there is no such line.
std::string scriptInterpreter(std::string_view head);

bool hasBinfmtHandler(const std::string& architecture, const std::string& handlers = kBinfmtFolder);

// Code "arch". `what` is for `architecture`: "the image is", "\"/hello\" is a program for".
Error foreignError(std::string_view what, const std::string& architecture,
                   const std::string& handlers = kBinfmtFolder);

// `error` is what execve gave for the command of `spec` in `root`. When the program there, or what
// its #! line names, is of another architecture, the error that says so; else `error`.
Error explainForeign(const Error& error, int root, const Spec& spec,
                     const std::string& handlers = kBinfmtFolder);

}  // namespace img::runtime
