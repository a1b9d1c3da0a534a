#include "runtime/chroot_run.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <ctime>
#include <functional>
#include <iterator>
#include <tuple>
#include <utility>

#include "base/fs.h"
#include "base/sys.h"
#include "base/text.h"
#include "runtime/apparmor.h"
#include "runtime/architecture.h"
#include "runtime/init.h"
#include "runtime/launched.h"
#include "runtime/own_binary.h"
#include "runtime/privileges.h"
#include "runtime/rootfs.h"
#include "runtime/user_namespace.h"

namespace img::runtime {
namespace {

// Linux Documentation/admin-guide/devices.txt
struct Node {
  const char* name;
  unsigned minor;
};
constexpr Node kMemoryNodes[] = {{"zero", 5}, {"full", 7}, {"random", 8}, {"urandom", 9}};
constexpr unsigned kMemory = 1, kNull = 3, kTerminals = 5;

// A step that changes owners and users needs these, and none of them can be done without.
struct Right {
  unsigned number;
  const char* name;
};
constexpr Right kRights[] = {{CAP_SYS_CHROOT, "CAP_SYS_CHROOT"},
                             {CAP_CHOWN, "CAP_CHOWN"},
                             {CAP_DAC_OVERRIDE, "CAP_DAC_OVERRIDE"},
                             {CAP_FOWNER, "CAP_FOWNER"},
                             {CAP_SETUID, "CAP_SETUID"},
                             {CAP_SETGID, "CAP_SETGID"},
                             {CAP_SETPCAP, "CAP_SETPCAP"},
                             {CAP_KILL, "CAP_KILL"}};

const Right* missingRight() {
  const Right* const end = std::end(kRights);
  const Right* const missing = std::find_if(
      std::begin(kRights), end, [](const Right& right) { return !hasCapability(right.number); });
  return missing == end ? nullptr : missing;
}

void makeNode(int folder, const char* name, unsigned major, unsigned minor) {
  sys::mknodat(folder, name, S_IFCHR | 0666, makedev(major, minor));
  sys::fchmodat(folder, name, 0666);
}

// A file system that is mounted nodev takes the node and does not open it.
bool hasNull(int folder) {
  try {
    makeNode(folder, "null", kMemory, kNull);
    std::ignore = sys::openat(folder, "null", O_RDWR | O_NOFOLLOW);
    return true;
  } catch (const Error&) {
    sys::tryUnlinkat(folder, "null", 0);
    return false;
  }
}

// --- The supervisor ---

std::vector<pid_t> childrenOf(pid_t self) {
  // proc_pid_task(5): a process with one thread has all its children there.
  const std::string path = fmt::format("/proc/self/task/{}/children", self);
  std::vector<pid_t> children;
  for (const std::string& word : text::split(fs::tryReadFile(AT_FDCWD, path).value_or(""), ' ')) {
    if (const auto pid = text::parseUnsigned(word)) children.push_back(static_cast<pid_t>(*pid));
  }
  return children;
}

// Whoever loses its parent becomes a child of this process (PR_SET_CHILD_SUBREAPER), so that all
// are found, one generation after the other.
void killAllBelow(pid_t command) {
  const pid_t self = ::getpid();
  ::kill(-command, SIGKILL);  // its session began as one group; found without /proc as well
  for (;;) {
    for (const pid_t child : childrenOf(self)) ::kill(child, SIGKILL);
    pid_t ended = 0;
    while ((ended = ::waitpid(-1, nullptr, WNOHANG)) > 0) {
    }
    if (ended < 0 && errno == ECHILD) return;
    const timespec pause{0, 1000000};
    ::nanosleep(&pause, nullptr);
  }
}

// Ends as the command did, for the caller to see.
[[noreturn]] void endLike(int status) {
  if (WIFSIGNALED(status)) {
    const int signal = WTERMSIG(status);
    struct sigaction standard {};
    standard.sa_handler = SIG_DFL;
    ::sigaction(signal, &standard, nullptr);
    sigset_t only;
    ::sigemptyset(&only);
    ::sigaddset(&only, signal);
    ::kill(::getpid(), signal);
    ::pthread_sigmask(SIG_UNBLOCK, &only, nullptr);
  }
  ::_exit(WIFEXITED(status) ? WEXITSTATUS(status) : 128 + SIGKILL);
}

// All signals are blocked here since the clone, and taken from the queue. The caller's death comes
// as kEndAll.
[[noreturn]] void supervise(pid_t command) {
  sigset_t all;
  ::sigfillset(&all);
  int status = SIGKILL;  // as waitpid(2) has it
  for (bool isOver = false; !isOver;) {
    const int signal = ::sigwaitinfo(&all, nullptr);
    if (signal == kEndAll) isOver = true;
    if (signal != SIGCHLD) {
      if (signal > 0 && !isOver) ::kill(command, signal);
      continue;
    }
    int ended = 0;
    for (pid_t pid; (pid = ::waitpid(-1, &ended, WNOHANG)) > 0;) {
      if (pid != command) continue;
      status = ended;
      isOver = true;
    }
  }
  killAllBelow(command);
  endLike(status);
}

[[noreturn]] void runCommand(const Spec& spec, int root, ChildSide side) {
  Stage stage;
  Fd null;
  try {
    dieWithParent();
    sys::prctl(PR_SET_DUMPABLE, 0, "hide this process");
    enterAppArmorOnExec(spec.appArmor);
    null = sys::openat(AT_FDCWD, "/dev/null", O_RDWR);
    sys::fchdir(root);
    sys::chroot(".");
    sys::chdir("/");
    stage.null = null.get();
  } catch (...) {
    reportAndExit(side.errors.get(), "entering the root of the step");
  }
  becomeCommand(spec, std::move(side), std::move(stage));
}

[[noreturn]] void runSupervisor(const Spec& spec, int root, ChildSide side, Fd answer) {
  pid_t command = -1;
  try {
    sys::prctl(PR_SET_PDEATHSIG, kEndAll, "ask for a signal at the parent's death");
    if (!hasReader(side.errors.get())) ::_exit(1);
    sys::prctl(PR_SET_CHILD_SUBREAPER, 1, "take in orphans");
    sys::prctl(PR_SET_DUMPABLE, 0, "hide this process");
    for (const Fd& procs : side.cgroups) writeAll(procs.get(), "0", "cgroup.procs");
    side.cgroups.clear();
    command = sys::check([] { return ::fork(); }, "start a process");
    if (command == 0) {
      answer.reset();
      runCommand(spec, root, std::move(side));
    }
    writeAll(answer.get(), std::to_string(command), "the answer of the supervisor");
  } catch (...) {
    reportAndExit(side.errors.get(), "starting the step");
  }
  // Nothing of the build is held open by it: locks, the error pipe, the output of the step.
  ::dup2(sys::openat(AT_FDCWD, "/", O_PATH).get(), 0);
  for (const int stream : {1, 2}) ::dup2(0, stream);
  sys::closeRange(3, ~0U);
  supervise(command);
}

// Not clone3(2): filters of containers answer it with ENOSYS. The child has all signals blocked.
Launched forkBlocked(const std::function<void()>& child) {
  sigset_t all;
  sigset_t before;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  const pid_t pid = ::fork();
  if (pid == 0) {
    child();
    ::_exit(1);
  }
  const int errnum = errno;
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (pid < 0) throw Error::fromErrno(errnum, "start a process");
  return {pid, sys::pidfdOpen(pid)};
}

// As CgroupHolder of launch.cc, for what a step was given.
std::optional<Cgroup> makeCgroup(const Spec& spec) {
  std::optional<Cgroup> group;
  if (!spec.cgroupName.empty()) group = CgroupTree{}.create(spec.cgroupName, spec.limits);
  if (group || (!spec.limits.any() && !spec.isCgroupRequired)) return group;
  throw Error{Kind::unsupported, "cannot set the limits of the step"}.code("cgroup").why(
      "no cgroup can be written to");
}

}  // namespace

void checkChrootRights() {
  if (const Right* right = missingRight()) {
    throw Error{Kind::denied, "--isolation chroot needs root with the usual capabilities"}
        .code("userns-denied")
        .why(fmt::format("{} is missing", right->name));
  }
}

bool hasChrootRights() {
  return missingRight() == nullptr;
}

bool fillDevices(int folder) {
  const bool hasNodes = hasNull(folder);
  if (hasNodes) {
    for (const Node& node : kMemoryNodes) makeNode(folder, node.name, kMemory, node.minor);
    makeNode(folder, "tty", kTerminals, 0);
  } else {
    const Fd file = sys::openat(folder, "null", O_WRONLY | O_CREAT | O_EXCL, 0666);
    sys::fchmod(file.get(), 0666);
  }
  sys::mkdirat(folder, "shm", 0700);
  sys::fchmodat(folder, "shm", 01777);
  return hasNodes;
}

Container startInChroot(const Spec& spec, int root) {
  checkCommand(spec);
  Pipe errors = Pipe::make();
  Pipe answer = Pipe::make();
  ChildSide side;
  side.errors = std::move(errors.write);
  side.program = makeContainerInit();
  makeWorkingFolder(root, spec.cwd);
  std::optional<Cgroup> group = makeCgroup(spec);
  if (group && group->into)
    group->entries.push_back(sys::openat(group->into.get(), "cgroup.procs", O_WRONLY));
  if (group) side.cgroups = std::move(group->entries);
  auto held = std::make_unique<Container::Impl>(forkBlocked([&] {
    answer.read.reset();
    errors.read.reset();
    runSupervisor(spec, root, std::move(side), std::move(answer.write));
  }));
  Container::Impl& impl = *held;
  impl.cgroup = std::move(group);
  impl.hasLateGroups = spec.hasLateGroups;
  impl.isSupervised = true;
  Container container{std::move(held)};
  side = {};
  answer.write.reset();
  const auto pid = text::parseUnsigned(readAll(answer.read.get(), "the answer of the supervisor"));
  const ExecReport report = readReport(errors.read, spec.argv.front());
  if (report.error) throw explainForeign(*report.error, root, spec);
  if (!pid) throw Error{Kind::internal, "the supervisor of the step ended without an answer"};
  impl.pid = static_cast<pid_t>(*pid);
  return container;
}

}  // namespace img::runtime
