// The standard system call filter (security.md 3), compiled when the project is built
// (gen/seccomp_gen.cc): an allow-list, EPERM for known calls that are not on it, ENOSYS for unknown
// ones.
#pragma once

#include <linux/filter.h>

#include <cstdint>
#include <vector>

namespace img::runtime {

// The filter for a process that holds `capabilities`: calls that need one it has are let through.
std::vector<sock_filter> seccompProgram(std::uint64_t capabilities);

// `program` with calls through other entry points than the native one refused (ENOSYS): on i386 a
// filter cannot see the family in socketcall(2), so 32-bit programs escape the rules on sockets.
std::vector<sock_filter> onlyNative(std::vector<sock_filter> program);

// Puts it on the calling thread for good. Needs CAP_SYS_ADMIN or no_new_privs.
void loadSeccomp(std::vector<sock_filter> program);

}  // namespace img::runtime
