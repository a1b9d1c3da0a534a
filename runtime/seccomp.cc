#include "runtime/seccomp.h"

#include <linux/audit.h>
#include <linux/seccomp.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
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

#if defined(__x86_64__)
constexpr std::uint32_t kNativeArch = AUDIT_ARCH_X86_64;
#elif defined(__aarch64__)
constexpr std::uint32_t kNativeArch = AUDIT_ARCH_AARCH64;
#endif

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

std::vector<sock_filter> onlyNative(std::vector<sock_filter> program) {
  const sock_filter head[] = {BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, arch)),
                              BPF_JUMP(BPF_JMP | BPF_K | BPF_JEQ, kNativeArch, 1, 0),
                              BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS)};
  program.insert(program.begin(), std::begin(head), std::end(head));
  return program;
}

void loadSeccomp(std::vector<sock_filter> program) {
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
