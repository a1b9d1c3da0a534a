#include "runtime/privileges.h"

#include <grp.h>
#include <linux/capability.h>
#include <linux/keyctl.h>
#include <sched.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <csignal>

#include "base/sys.h"
#include "runtime/resource_limits.h"
#include "runtime/seccomp.h"

namespace img::runtime {
namespace {

// ioprio_set(2). Debian's <linux/ioprio.h> of 6.1.192 does not compile as C++.
constexpr int kIoprioWhoProcess = 1;

constexpr rlim_t kOpenFiles = 1048576;

void resetSignals() {
  struct sigaction standard {};
  standard.sa_handler = SIG_DFL;
  // An ignored signal stays ignored over execve(2), so each is put back. KILL, STOP and libc's own
  // two refuse: fine.
  for (int signal = 1; signal < NSIG; ++signal) ::sigaction(signal, &standard, nullptr);
  sigset_t none;
  ::sigemptyset(&none);
  ::pthread_sigmask(SIG_SETMASK, &none, nullptr);
}

std::string shownLimit(rlim_t value) {
  return value == RLIM_INFINITY ? "unlimited" : std::to_string(value);
}

void setLimit(int resource, const rlimit& value) {
  if (::setrlimit(static_cast<__rlimit_resource>(resource), &value) == 0) return;
  const int errnum = errno;
  Error error =
      Error::fromErrno(errnum, fmt::format("set the limit {} to {}:{}", resourceName(resource),
                                           shownLimit(value.rlim_cur), shownLimit(value.rlim_max)));
  rlimit now{};
  if (errnum == EPERM && ::getrlimit(static_cast<__rlimit_resource>(resource), &now) == 0) {
    // Open files stop at fs.nr_open for everybody, the others at the caller's own hard limit.
    error.hint(fmt::format("the hard limit is {} here", shownLimit(now.rlim_max)));
  }
  throw error;
}

// Never insists on raising a hard limit: the caller may lack CAP_SYS_RESOURCE (security.md P5).
void setStandardLimits() {
  rlimit files{};
  ::getrlimit(RLIMIT_NOFILE, &files);
  files.rlim_cur = std::min(files.rlim_max, kOpenFiles);
  setLimit(RLIMIT_NOFILE, files);
  rlimit core{};
  ::getrlimit(RLIMIT_CORE, &core);
  core.rlim_cur = 0;
  setLimit(RLIMIT_CORE, core);
}

using CapabilityData = std::array<__user_cap_data_struct, 2>;

void capset(const CapabilityData& data) {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  sys::check([&] { return ::syscall(SYS_capset, &header, data.data()); }, "set capabilities");
}

CapabilityData capget() {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  CapabilityData data{};
  sys::check([&] { return ::syscall(SYS_capget, &header, data.data()); }, "read capabilities");
  return data;
}

std::uint64_t ambientCapabilities() {
  std::uint64_t mask = 0;
  for (unsigned number = 0; number < 64; ++number) {
    const int has = ::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, number, 0, 0);
    if (has < 0) break;
    if (has > 0) mask |= std::uint64_t{1} << number;
  }
  return mask;
}

struct Sets {
  std::uint64_t bounding = 0, permitted = 0, inheritable = 0;
};

CapabilityData toData(const Sets& sets) {
  CapabilityData data{};
  for (unsigned half = 0; half < 2; ++half) {
    const auto part = [half](std::uint64_t mask) {
      return static_cast<std::uint32_t>(mask >> (32 * half));
    };
    data[half] = {part(sets.permitted), part(sets.permitted), part(sets.inheritable)};
  }
  return data;
}

// Not asked for each whether it is there: verify() reads what is left.
void dropBoundingBut(std::uint64_t keep) {
  for (unsigned number = 0; number < 64; ++number) {
    if ((keep >> number & 1) != 0 || ::prctl(PR_CAPBSET_DROP, number, 0, 0, 0) == 0) continue;
    const int errnum = errno;
    if (errnum == EINVAL) return;  // the kernel knows no more
    // Who may not drop any has no need to drop what is not there.
    if (::prctl(PR_CAPBSET_READ, number, 0, 0, 0) > 0) {
      throw Error::fromErrno(errnum, "drop a capability");
    }
  }
}

void raiseAmbient(std::uint64_t mask) {
  sys::check([] { return ::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); },
             "clear ambient capabilities");
  for (unsigned number = 0; number < 64; ++number) {
    if ((mask >> number & 1) == 0) continue;
    sys::check([&] { return ::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, number, 0, 0); },
               "raise an ambient capability");
  }
}

// EINVAL from the set*id calls: the user namespace has no such id.
Error unmapped(std::string_view what, unsigned id) {
  return Error::make(Kind::denied, "cannot become {} {}", what, id)
      .code("idmap")
      .why("this user namespace has no such id")
      .hint("give the user a range of ids in /etc/subuid and /etc/subgid");
}

// With one id the kernel lets nobody change groups (user_namespaces(7)): those of the caller stay.
// That others were asked for is an error (security.md U2); memberships that the image gives to root
// mean nothing where root is the caller. `isAsked`: somebody else than the image named them.
void setGroups(const Identity& identity, bool isAsked) {
  if (::setgroups(identity.groups.size(), identity.groups.data()) == 0) return;
  const int errnum = errno;
  const bool isForbidden = errnum == EPERM && (capget()[0].effective >> CAP_SETGID & 1) != 0;
  const auto other = std::find_if(identity.groups.begin(), identity.groups.end(),
                                  [](gid_t group) { return group != 0; });
  const bool hasOther = other != identity.groups.end();
  const bool isRoot = identity.uid == 0 && identity.gid == 0;
  if (isForbidden && (!hasOther || (isRoot && !isAsked))) return;
  if (hasOther && (isForbidden || errnum == EINVAL)) throw unmapped("a member of group", *other);
  throw Error::fromErrno(errnum, "set the groups");
}

void switchIds(const Identity& identity, bool hasAskedGroups) {
  setGroups(identity, hasAskedGroups);
  if (::setresgid(identity.gid, identity.gid, identity.gid) != 0) {
    if (errno == EINVAL) throw unmapped("group", identity.gid);
    throw Error::fromErrno(errno, fmt::format("become group {}", identity.gid));
  }
  if (::setresuid(identity.uid, identity.uid, identity.uid) != 0) {
    if (errno == EINVAL) throw unmapped("user", identity.uid);
    throw Error::fromErrno(errno, fmt::format("become user {}", identity.uid));
  }
}

void verify(const Sets& wanted, std::uint64_t ambient, const Identity& identity) {
  const CapabilityData expected = toData(wanted);
  const CapabilityData got = capget();
  bool isRight = boundingCapabilities() == wanted.bounding;
  // What is not inheritable is not ambient either (capabilities(7)).
  if (wanted.inheritable != 0) isRight = isRight && ambientCapabilities() == ambient;
  for (size_t half = 0; half < 2; ++half) {
    isRight = isRight && got[half].effective == expected[half].effective &&
              got[half].permitted == expected[half].permitted &&
              got[half].inheritable == expected[half].inheritable;
  }
  uid_t uid[3];
  gid_t gid[3];
  ::getresuid(&uid[0], &uid[1], &uid[2]);
  ::getresgid(&gid[0], &gid[1], &gid[2]);
  for (int i = 0; i < 3; ++i) isRight = isRight && uid[i] == identity.uid && gid[i] == identity.gid;
  if (!isRight) throw Error{Kind::internal, "the kernel did not set the privileges as asked"};
}

void loadFilter(const Spec& spec, std::uint64_t capabilities) {
  std::vector<sock_filter> program =
      spec.seccomp == Seccomp::profile ? spec.seccompFilter : seccompProgram(capabilities);
  loadSeccomp(spec.only64Bit ? onlyNative(std::move(program)) : std::move(program));
}

}  // namespace

void dieWithParent() {
  sys::prctl(PR_SET_PDEATHSIG, SIGKILL, "ask for a signal at the parent's death");
}

void cleanProcessState(const Spec& spec) {
  resetSignals();
  ::umask(spec.umask);
  ::setsid();  // fails only for a session leader, which is what we want to be
  ::personality(0);
  const sched_param priority{};
  ::sched_setscheduler(0, SCHED_OTHER, &priority);
  ::syscall(SYS_ioprio_set, kIoprioWhoProcess, 0, 0);
  // Keys of the caller's session must not be reachable. Kernels without keyrings have none to
  // reach; an outer seccomp filter that refuses the call (EPERM) refuses it to the container as
  // well.
  if (::syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, nullptr) < 0 && errno != ENOSYS &&
      errno != EPERM) {
    throw Error::fromErrno(errno, "make a session keyring");
  }
  setStandardLimits();
  for (const ResourceLimit& limit : spec.resourceLimits) {
    setLimit(limit.resource, {limit.soft, limit.hard});
  }
}

void becomeUser(const Spec& spec, const Identity& identity) {
  const bool isConfined = spec.seccomp != Seccomp::unconfined && !spec.privileged;
  const bool isRoot = identity.uid == 0;
  Sets sets;
  // Privileged: everything that the caller has.
  sets.bounding = boundingCapabilities(spec.privileged ? ~std::uint64_t{0} : spec.capabilities);
  const std::uint64_t ambient = isRoot ? 0 : spec.addedCapabilities & sets.bounding;
  sets.permitted = isRoot ? sets.bounding : ambient;
  sets.inheritable = ambient;  // never more: CVE-2022-24769 and its kin

  if (isConfined && !spec.noNewPrivs) loadFilter(spec, sets.bounding);
  dropBoundingBut(sets.bounding);
  sys::prctl(PR_SET_KEEPCAPS, 1, "keep capabilities over the change of user");
  switchIds(identity, !spec.groupAdd.empty());
  capset(toData(sets));
  raiseAmbient(ambient);
  sys::prctl(PR_SET_KEEPCAPS, 0, "let go of capabilities");
  verify(sets, ambient, identity);
  if (spec.noNewPrivs) {
    sys::check([] { return ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); }, "set no_new_privs");
    if (isConfined) loadFilter(spec, sets.bounding);
  }
  // commit_creds() in the kernel clears both when ids change.
  sys::prctl(PR_SET_DUMPABLE, 0, "hide this process");
  dieWithParent();
}

}  // namespace img::runtime
