#include "runtime/seccomp.h"

#include <linux/seccomp.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <iterator>

#include "base/sys.h"

namespace img::runtime {
namespace {

// A return value SECCOMP_RET_TRACE | i in the program stands for kMarkers[i].
struct Marker {
  std::uint64_t anyOf;  // capabilities
  int denied;           // the error without one of them
};

#include "seccomp_default.inc"

}  // namespace

std::vector<sock_filter> seccompProgram(std::uint64_t capabilities) {
  std::vector<sock_filter> program{std::begin(kProgram), std::end(kProgram)};
  for (sock_filter& one : program) {
    const bool isReturn = one.code == (BPF_RET | BPF_K);
    if (!isReturn || (one.k & SECCOMP_RET_ACTION_FULL) != SECCOMP_RET_TRACE) continue;
    const Marker& marker = kMarkers[one.k & SECCOMP_RET_DATA];
    one.k = (capabilities & marker.anyOf) != 0
                ? std::uint32_t{SECCOMP_RET_ALLOW}
                : SECCOMP_RET_ERRNO | static_cast<std::uint32_t>(marker.denied);
  }
  return program;
}

void loadSeccomp(std::uint64_t capabilities) {
  std::vector<sock_filter> program = seccompProgram(capabilities);
  const sock_fprog whole{static_cast<unsigned short>(program.size()), program.data()};
  // SPEC_ALLOW: without it the kernel puts the process into the slow speculation-safe mode
  // (security.md 3).
  sys::check(
      [&] {
        return ::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_SPEC_ALLOW,
                         &whole);
      },
      "load the seccomp filter");
}

}  // namespace img::runtime
