// A filter of the caller's own: docker's JSON profile, compiled by libseccomp (2-8 ms, which is why
// the standard filter of seccomp.h is made when the project is built).
#pragma once

#include <linux/filter.h>

#include <cstdint>
#include <string_view>
#include <vector>

namespace img::runtime {

// The filter of the profile for a process whose bounding set is `capabilities`. Understood are
// defaultAction, defaultErrnoRet, architectures or archMap, flags, and in each of syscalls: name or
// names, action, errnoRet, args, includes and excludes with caps, arches and minKernel. Names that
// libseccomp does not know are skipped; calls newer than every call of the profile fail with ENOSYS
// when the default is to refuse, so that libc falls back. x32 is never let in (security.md 3).
// Throws Kind::usage for a profile that cannot be understood, with the JSON pointer.
std::vector<sock_filter> compileSeccompProfile(std::string_view json, std::uint64_t capabilities);

}  // namespace img::runtime
