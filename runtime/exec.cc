#include "runtime/exec.h"

#include <fcntl.h>
#include <linux/sched.h>
#include <poll.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>

#include "base/sys.h"
#include "base/text.h"
#include "runtime/apparmor.h"
#include "runtime/architecture.h"
#include "runtime/init.h"
#include "runtime/launched.h"
#include "runtime/namespaces.h"
#include "runtime/own_binary.h"
#include "runtime/privileges.h"

namespace img::runtime {
namespace {

constexpr int kNamespaces =
    CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWNET | CLONE_NEWCGROUP;

// setns(2) refuses a user namespace that one is in already, and old kernels know no time namespace.
int namespacesOf(pid_t pid) {
  int flags = kNamespaces;
  if (isOtherNamespace(pid, "user")) flags |= CLONE_NEWUSER;
  if (isOtherNamespace(pid, "time")) flags |= CLONE_NEWTIME;
  return flags;
}

constexpr int kSetupFailed = 125;

struct Target {
  int pidfd = -1;
  int namespaces = 0;  // CLONE_NEW*
  int null = -1;
};

// Joins everything but the pid namespace, which only children enter: this program is never among
// the processes that the container can see, so not even one with CAP_SYS_PTRACE gets hold of the
// binary (security.md F3).
[[noreturn]] void joinContainer(const Spec& spec, ChildSide side, const Target& target) {
  Stage stage;
  stage.null = target.null;
  stage.isFurther = true;
  try {
    dieWithParent();
    if (!hasReader(side.errors.get())) ::_exit(kSetupFailed);
    sys::prctl(PR_SET_DUMPABLE, 0, "hide this process");
    enterAppArmorOnExec(spec.appArmor);
    for (const Fd& procs : side.cgroups) writeAll(procs.get(), "0", "cgroup.procs");
    sys::setns(target.pidfd, target.namespaces, "the namespaces of the container");
    if ((target.namespaces & CLONE_NEWUSER) != 0) becomeNamespaceRoot();
    if (spec.tty) {
      const Fd root = sys::openat(AT_FDCWD, "/", O_PATH | O_DIRECTORY);
      const Fd pts = sys::openBeneath(root.get(), "dev/pts", O_PATH | O_DIRECTORY);
      stage.terminal = openTerminal(pts.get());
    }
  } catch (...) {
    reportAndExit(side.errors.get(), "entering the container");
  }
  becomeCommand(spec, std::move(side), std::move(stage));
}

// The number came through a pipe that a process of the container may have got hold of, with
// CAP_SYS_PTRACE: it must not be able to name a process of the host, which we would then kill.
void requireChild(const Launched& command) {
  siginfo_t info{};
  constexpr int kOnlyLook = WEXITED | WNOHANG | WNOWAIT;
  sys::check(
      [&] { return ::waitid(P_PIDFD, static_cast<id_t>(command.pidfd.get()), &info, kOnlyLook); },
      "find the command in the container");
}

// The end of the pipe: all who could write into it have closed it, or have become the command.
bool awaitReport(const Fd& errors, int patienceMs) {
  pollfd end{errors.get(), 0, 0};
  return sys::check([&] { return ::poll(&end, 1, patienceMs); }, "wait for the command") > 0;
}

// What is there of it: the number of the process that has to go.
ExecReport readLateReport(const Fd& errors) {
  constexpr size_t kRecord = 5;  // container_init.c
  unsigned char record[kRecord] = {};
  ExecReport report;
  if (::read(errors.get(), record, kRecord) != kRecord || record[0] != 'P') return report;
  std::uint32_t value = 0;
  for (size_t i = kRecord - 1; i > 0; --i) value = value << 8 | record[i];
  report.pid = static_cast<pid_t>(value);
  return report;
}

Error lateStart() {
  return Error{Kind::failed, "the command did not start in time"}.exitCode(125);
}

// The container's root is in reach as long as its first process lives (proc_pid_root(5)).
Error explained(const Error& error, pid_t pid, const Spec& spec) {
  const auto root =
      sys::tryOpenat(AT_FDCWD, fmt::format("/proc/{}/root", pid), O_PATH | O_DIRECTORY);
  return root ? explainForeign(error, root->get(), spec) : error;
}

}  // namespace

Container execute(int pidfd, pid_t pid, const Spec& spec, int patienceMs) {
  checkCommand(spec);
  Pipe errors = Pipe::make();
  std::pair<Fd, Fd> terminal;
  ChildSide side;
  side.program = makeContainerInit();
  if (spec.tty) {
    terminal = sys::socketPair();
    side.terminalSocket = std::move(terminal.second);
  }
  side.errors = std::move(errors.write);
  // The host's, opened before anything of the container is in view: its own /dev/null may be
  // anything by now.
  const Fd null = sys::openat(AT_FDCWD, "/dev/null", O_RDWR);
  const Target target{pidfd, namespacesOf(pid), null.get()};
  if ((target.namespaces & CLONE_NEWUSER) != 0) {
    checkOwner(openNamespace(pid, "user").get());
    giveStreams(spec, outsideRootOf(pid));
  }
  Cgroup group = CgroupTree{}.groupsOf(pid);

  clone_args args{};
  if (group.into) {
    args.flags = CLONE_INTO_CGROUP;
    args.cgroup = static_cast<std::uint64_t>(group.into.get());
  }
  side.cgroups = std::move(group.entries);
  const Launched helper = cloneChild(args, [&] {
    errors.read.reset();
    joinContainer(spec, std::move(side), target);
  });
  side = {};
  const bool isLate = !awaitReport(errors.read, patienceMs);
  if (isLate) {
    sys::pidfdSendSignal(helper.pidfd.get(), SIGKILL);
    sys::setNonBlocking(errors.read.get(), true);
  }
  const ExecReport report =
      isLate ? readLateReport(errors.read) : readReport(errors.read, spec.argv.front());
  waitFor(helper.pid);
  if (isLate && report.pid == 0) throw lateStart();
  if (report.pid == 0) {
    if (report.error) throw Error{*report.error};
    throw Error{Kind::internal, "the process that joins the container ended without an answer"};
  }
  // A child of ours (CLONE_PARENT) that nobody has waited for: its pid cannot have been given away.
  Launched command{report.pid, sys::pidfdOpen(report.pid)};
  requireChild(command);
  auto held = std::make_unique<Container::Impl>(std::move(command));
  Container::Impl& impl = *held;
  Container container{std::move(held)};  // killed with it when it was late
  if (isLate) throw lateStart();
  if (report.error) throw explained(*report.error, pid, spec);
  if (spec.tty) impl.terminal = sys::receiveFd(terminal.first.get());
  return container;
}

}  // namespace img::runtime
