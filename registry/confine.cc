#include "registry/confine.h"

#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/landlock.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <csignal>

#include "base/sys.h"

namespace img::registry {
namespace {

constexpr uid_t kNobody = 65534;

void dropCapabilities() {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct none[2] = {};
  sys::check([&] { return ::syscall(SYS_capset, &header, none); }, "drop capabilities");
}

// In a user namespace that does not map it there is no nobody: root there is the caller outside,
// who loses the capabilities instead.
void leaveRoot() {
  if (::geteuid() != 0) return;
  const bool isMapped = ::setgroups(0, nullptr) == 0 &&
                        ::setresgid(kNobody, kNobody, kNobody) == 0 &&
                        ::setresuid(kNobody, kNobody, kNobody) == 0;
  if (!isMapped && errno != EINVAL && errno != EPERM) {
    throw Error::fromErrno(errno, "become the user nobody");
  }
  dropCapabilities();
}

// landlock(7): what is handled and not allowed by a rule is denied. Absent on old kernels, where
// the user nobody has to do.
void forbidWriting() {
  landlock_ruleset_attr attributes{};
  attributes.handled_access_fs =
      LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_REMOVE_DIR |
      LANDLOCK_ACCESS_FS_REMOVE_FILE | LANDLOCK_ACCESS_FS_MAKE_CHAR | LANDLOCK_ACCESS_FS_MAKE_DIR |
      LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_MAKE_SOCK | LANDLOCK_ACCESS_FS_MAKE_FIFO |
      LANDLOCK_ACCESS_FS_MAKE_BLOCK | LANDLOCK_ACCESS_FS_MAKE_SYM;
  const long ruleset = ::syscall(SYS_landlock_create_ruleset, &attributes, sizeof attributes, 0);
  if (ruleset < 0 && (errno == ENOSYS || errno == EOPNOTSUPP)) return;
  const Fd owned{static_cast<int>(sys::check([&] { return ruleset; }, "make a Landlock rule set"))};
  sys::check([&] { return ::syscall(SYS_landlock_restrict_self, owned.get(), 0); },
             "restrict writing with Landlock");
}

}  // namespace

void confine(int lastFd) {
  const pid_t parent = ::getppid();
  sys::closeRange(static_cast<unsigned>(lastFd) + 1, ~0U);
  const rlimit noCore{0, 0};
  ::setrlimit(RLIMIT_CORE, &noCore);
  leaveRoot();
  sys::prctl(PR_SET_NO_NEW_PRIVS, 1, "give up new privileges");
  forbidWriting();
  // A change of user clears it (prctl(2)): whoever started us must not leave us behind.
  sys::prctl(PR_SET_PDEATHSIG, SIGKILL, "die with the parent");
  if (::getppid() != parent) ::_exit(1);
}

}  // namespace img::registry
