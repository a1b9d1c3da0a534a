#include "runtime/seccomp.h"

#include <gtest/gtest.h>
#include <linux/audit.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>

#include "runtime/security.h"
#include "tests/runtime/filter_evaluator.h"

namespace img::runtime::test {
namespace {

constexpr int kAllowed = 0;

// 0: allowed, else the errno.
int verdict(std::uint64_t capabilities, std::uint32_t arch, long number, std::uint64_t arg0 = 0,
            std::uint64_t arg2 = 0) {
  seccomp_data data{};
  data.nr = static_cast<int>(number);
  data.arch = arch;
  data.args[0] = arg0;
  data.args[2] = arg2;
  const std::uint32_t result = evaluate(seccompProgram(capabilities), data);
  if (result == SECCOMP_RET_ALLOW) return kAllowed;
  EXPECT_EQ(result & SECCOMP_RET_ACTION_FULL, std::uint32_t{SECCOMP_RET_ERRNO});
  return static_cast<int>(result & SECCOMP_RET_DATA);
}

#if defined(__x86_64__)
constexpr std::uint32_t kNative = AUDIT_ARCH_X86_64;

int native(long number, std::uint64_t arg0 = 0, std::uint64_t arg2 = 0) {
  return verdict(kDefaultCapabilities, kNative, number, arg0, arg2);
}

TEST(SeccompFilter, AllowsEverydayCalls) {
  for (const long number : {SYS_read,
                            SYS_write,
                            SYS_openat,
                            SYS_execve,
                            SYS_mmap,
                            SYS_futex,
                            SYS_epoll_pwait2,
                            SYS_ptrace,
                            SYS_chroot,
                            SYS_io_setup,
                            SYS_landlock_restrict_self,
                            SYS_rseq,
                            SYS_getrandom,
                            SYS_statx,
                            SYS_faccessat2,
                            SYS_openat2,
                            SYS_close_range,
                            SYS_pidfd_open,
                            SYS_mq_open,
                            SYS_semtimedop,
                            SYS_setxattr,
                            SYS_capset,
                            SYS_memfd_create,
                            SYS_timer_create,
                            SYS_exit_group}) {
    EXPECT_EQ(native(number), kAllowed) << number;
  }
  for (const long number :
       {451, 452, 453, 454, 455, 456, 457, 458, 462, 463, 464, 465, 466, 468, 469, 335}) {
    EXPECT_EQ(native(number), kAllowed) << number;
  }
}

TEST(SeccompFilter, RefusesKnownCallsWithEperm) {
  for (const long number : {SYS_mount,
                            SYS_umount2,
                            SYS_pivot_root,
                            SYS_keyctl,
                            SYS_add_key,
                            SYS_request_key,
                            SYS_userfaultfd,
                            SYS_kexec_load,
                            SYS_kexec_file_load,
                            SYS_swapon,
                            SYS_swapoff,
                            SYS_bpf,
                            SYS_perf_event_open,
                            SYS_init_module,
                            SYS_finit_module,
                            SYS_delete_module,
                            SYS_reboot,
                            SYS_iopl,
                            SYS_ioperm,
                            SYS_settimeofday,
                            SYS_clock_settime,
                            SYS_acct,
                            SYS_vhangup,
                            SYS_mbind,
                            SYS_set_mempolicy,
                            SYS_move_pages,
                            SYS_migrate_pages,
                            SYS_unshare,
                            SYS_setns,
                            SYS_open_by_handle_at,
                            SYS_io_uring_setup,
                            SYS_io_uring_enter,
                            SYS_io_uring_register,
                            SYS_syslog,
                            SYS_quotactl,
                            SYS_lookup_dcookie,
                            SYS_fanotify_init,
                            SYS_sethostname,
                            SYS_fsopen,
                            SYS_fsmount,
                            SYS_move_mount,
                            SYS_open_tree,
                            SYS_mount_setattr,
                            SYS_kcmp,
                            SYS_pidfd_getfd,
                            SYS_process_madvise,
                            SYS_nfsservctl,
                            SYS_uselib,
                            SYS_ustat,
                            SYS_sysfs}) {
    EXPECT_EQ(native(number), EPERM) << number;
  }
  for (const long number : {459, 460, 461, 467}) EXPECT_EQ(native(number), EPERM) << number;
}

TEST(SeccompFilter, KnowsNoCallThatDoesNotExist) {
  for (const long number : {336L, 400L, 423L, 470L, 1000L, 0x3fffffffL, -1L}) {
    EXPECT_EQ(native(number), ENOSYS) << number;
  }
  EXPECT_EQ(native(SYS_clone3), ENOSYS) << "so that libc falls back to clone";
}

TEST(SeccompFilter, RefusesX32AndForeignArchitectures) {
  EXPECT_EQ(native(0x40000000L | SYS_read), ENOSYS);
  EXPECT_EQ(native(0x40000000L | 512), ENOSYS);
  EXPECT_EQ(verdict(kDefaultCapabilities, AUDIT_ARCH_AARCH64, 63), ENOSYS);
}

TEST(SeccompFilter, ClosesThe32BitCallsWhenAsked) {
  const std::vector<sock_filter> program = onlyNative(seccompProgram(kDefaultCapabilities));
  const auto result = [&](std::uint32_t arch, long number) {
    seccomp_data data{};
    data.nr = static_cast<int>(number);
    data.arch = arch;
    return evaluate(program, data);
  };
  EXPECT_EQ(result(kNative, SYS_read), SECCOMP_RET_ALLOW);
  EXPECT_EQ(result(kNative, SYS_mount), SECCOMP_RET_ERRNO | EPERM);
  EXPECT_EQ(result(AUDIT_ARCH_I386, 3), SECCOMP_RET_ERRNO | ENOSYS) << "read";
  EXPECT_EQ(result(AUDIT_ARCH_I386, 102), SECCOMP_RET_ERRNO | ENOSYS) << "socketcall";
}

TEST(SeccompFilter, LooksAtArguments) {
  EXPECT_EQ(native(SYS_clone, CLONE_VM | CLONE_FS | SIGCHLD), kAllowed);
  for (const std::uint64_t flag : {CLONE_NEWNS, CLONE_NEWCGROUP, CLONE_NEWUTS, CLONE_NEWIPC,
                                   CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET}) {
    EXPECT_EQ(native(SYS_clone, flag | SIGCHLD), EPERM) << std::hex << flag;
  }
  EXPECT_EQ(native(SYS_socket, AF_INET), kAllowed);
  EXPECT_EQ(native(SYS_socket, AF_UNIX), kAllowed);
  EXPECT_EQ(native(SYS_socket, 39), kAllowed);
  EXPECT_EQ(native(SYS_socket, 41), kAllowed);
  EXPECT_EQ(native(SYS_socket, AF_ALG), EPERM);
  EXPECT_EQ(native(SYS_socket, AF_VSOCK), EPERM);
  EXPECT_EQ(native(SYS_socket, AF_NETLINK, 0), kAllowed);
  EXPECT_EQ(native(SYS_socket, AF_NETLINK, 9), EINVAL) << "audit, without AUDIT_WRITE";
  for (const std::uint64_t persona : {0ULL, 8ULL, 0x20000ULL, 0x20008ULL, 0xffffffffULL}) {
    EXPECT_EQ(native(SYS_personality, persona), kAllowed) << persona;
  }
  EXPECT_EQ(native(SYS_personality, 0x40000 /* ADDR_NO_RANDOMIZE */), EPERM);
}

TEST(SeccompFilter, FollowsTheCapabilities) {
  const auto with = [](const char* name, long number, std::uint64_t arg0 = 0,
                       std::uint64_t arg2 = 0) {
    return verdict(kDefaultCapabilities | parseCapability(name), kNative, number, arg0, arg2);
  };
  for (const long number : {SYS_mount, SYS_unshare, SYS_setns, SYS_bpf, SYS_clone3, SYS_fsopen,
                            SYS_perf_event_open, SYS_syslog}) {
    EXPECT_EQ(with("SYS_ADMIN", number), kAllowed) << number;
  }
  EXPECT_EQ(with("SYS_ADMIN", SYS_clone, CLONE_NEWUSER), kAllowed);
  EXPECT_EQ(with("SYS_ADMIN", SYS_keyctl), EPERM);
  EXPECT_EQ(with("SYS_ADMIN", SYS_reboot), EPERM);
  EXPECT_EQ(with("SYS_PTRACE", SYS_kcmp), kAllowed);
  EXPECT_EQ(with("BPF", SYS_bpf), kAllowed);
  EXPECT_EQ(with("PERFMON", SYS_perf_event_open), kAllowed);
  EXPECT_EQ(with("SYSLOG", SYS_syslog), kAllowed);
  EXPECT_EQ(with("SYS_TIME", SYS_clock_settime), kAllowed);
  EXPECT_EQ(with("DAC_READ_SEARCH", SYS_open_by_handle_at), kAllowed);
  EXPECT_EQ(with("AUDIT_WRITE", SYS_socket, AF_NETLINK, 9), kAllowed);
  EXPECT_EQ(verdict(0, kNative, SYS_chroot), EPERM);
}

TEST(SeccompFilter, TreatsThe32BitCallsAlike) {
  const auto i386 = [](long number, std::uint64_t arg0 = 0) {
    return verdict(kDefaultCapabilities, AUDIT_ARCH_I386, number, arg0);
  };
  // arch/x86/entry/syscalls/syscall_32.tbl: read, open, execve, mmap2, stat64, setresuid32,
  // socketcall, bind, clock_gettime64, statx
  for (const long number :
       {3L, 5L, 11L, 192L, 195L, 208L, 102L, 361L, 403L, 383L, 4L, 252L, 174L}) {
    EXPECT_EQ(i386(number), kAllowed) << number;
  }
  // mount, umount, umount2, reboot, init_module, pivot_root, keyctl, unshare, setns, stime, swapon
  for (const long number : {21L, 22L, 52L, 88L, 128L, 217L, 288L, 310L, 346L, 25L, 87L}) {
    EXPECT_EQ(i386(number), EPERM) << number;
  }
  EXPECT_EQ(i386(359, AF_ALG), EPERM) << "socket";
  EXPECT_EQ(i386(359, AF_INET), kAllowed);
  EXPECT_EQ(i386(120, CLONE_NEWUSER), EPERM) << "clone";
  EXPECT_EQ(i386(435), ENOSYS) << "clone3";
  EXPECT_EQ(i386(1000), ENOSYS);
}

// The same through the kernel, in a child that really carries the filter.
struct Probe {
  const char* name;
  long (*call)();
  int expected;  // errno
};

long through0x80(long number) {
  long result = number;
  __asm__ volatile("int $0x80"
                   : "+a"(result)
                   : "b"(0), "c"(0), "d"(0)
                   : "memory", "r8", "r9", "r10", "r11");
  return result;
}

const Probe kProbes[] = {
    {"getpid", [] { return ::syscall(SYS_getpid) > 0 ? 0L : -1L; }, 0},
    {"unshare", [] { return ::syscall(SYS_unshare, CLONE_NEWUSER); }, EPERM},
    {"mount", [] { return ::syscall(SYS_mount, nullptr, nullptr, nullptr, 0, nullptr); }, EPERM},
    {"keyctl", [] { return ::syscall(SYS_keyctl, 0, 0, 0, 0, 0); }, EPERM},
    {"io_uring_setup", [] { return ::syscall(SYS_io_uring_setup, 1, nullptr); }, EPERM},
    {"AF_ALG", [] { return ::syscall(SYS_socket, AF_ALG, SOCK_SEQPACKET, 0); }, EPERM},
    {"clone3", [] { return ::syscall(SYS_clone3, nullptr, 0); }, ENOSYS},
    {"1000", [] { return ::syscall(1000); }, ENOSYS},
    {"x32 getpid", [] { return ::syscall(0x40000000L | SYS_getpid); }, ENOSYS},
};

TEST(SeccompFilter, IsObeyedByTheKernel) {
  constexpr size_t kCount = std::size(kProbes);
  auto* errors = static_cast<int*>(
      ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  ASSERT_NE(errors, MAP_FAILED);
  const pid_t child = ::fork();
  if (child == 0) {
    ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    loadSeccomp(seccompProgram(kDefaultCapabilities));
    for (size_t i = 0; i < kCount; ++i) errors[i] = kProbes[i].call() < 0 ? errno : 0;
    errors[kCount] = static_cast<int>(through0x80(21));  // mount
    errors[kCount + 1] = through0x80(20) > 0 ? 1 : 0;    // getpid
    ::_exit(0);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
  for (size_t i = 0; i < kCount; ++i) EXPECT_EQ(errors[i], kProbes[i].expected) << kProbes[i].name;
  // A kernel without the 32-bit entry point kills the child, which the status above tells.
  EXPECT_EQ(errors[kCount], -EPERM);
  EXPECT_EQ(errors[kCount + 1], 1);
  ::munmap(errors, 4096);
}
#endif

TEST(SeccompFilter, StaysSmall) {
  // Its size is a cost of every container start.
  EXPECT_LT(seccompProgram(kDefaultCapabilities).size(), 350U);
}

}  // namespace
}  // namespace img::runtime::test
