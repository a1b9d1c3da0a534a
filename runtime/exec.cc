#include "runtime/exec.h"

#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/sys.h"
#include "base/text.h"
#include "runtime/init.h"
#include "runtime/launched.h"
#include "runtime/own_binary.h"
#include "runtime/privileges.h"

namespace img::runtime {
namespace {

constexpr int kNamespaces =
    CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWNET | CLONE_NEWCGROUP;
constexpr int kSetupFailed = 125;

// Runs inside; everything of the container may be hostile here.
[[noreturn]] void runInside(const Spec& spec, ChildSide side, int null) {
  Stage stage;
  stage.null = null;
  stage.isFurther = true;
  try {
    dieWithParent();
    if (!hasReader(side.errors.get())) ::_exit(kSetupFailed);
    if (spec.tty) {
      const Fd root = sys::openat(AT_FDCWD, "/", O_PATH | O_DIRECTORY);
      stage.terminal =
          openTerminal(sys::openBeneath(root.get(), "dev/pts", O_PATH | O_DIRECTORY).get());
    }
  } catch (...) {
    reportAndExit(side.errors.get(), "entering the container");
  }
  becomeCommand(spec, std::move(side), std::move(stage));
}

// The process in between: joins everything and leaves behind the command as a child of *its*
// parent, because a process that calls setns(2) for a pid namespace stays outside of it itself.
[[noreturn]] void joinAndClone(int pidfd, const Cgroup& group, int answer, int errors,
                               const std::function<void()>& inside) {
  try {
    dieWithParent();
    if (!hasReader(errors)) ::_exit(kSetupFailed);
    // Unreadable for the container's processes from the moment they can see it (security.md F3).
    sys::prctl(PR_SET_DUMPABLE, 0, "hide this process");
    for (const Fd& procs : group.entries) writeAll(procs.get(), "0", "cgroup.procs");
    sys::setns(pidfd, kNamespaces, "the namespaces of the container");
    clone_args args{};
    args.flags = CLONE_PARENT;  // clone3(2): such a child has the exit signal of its maker
    if (group.into) {
      args.flags |= CLONE_INTO_CGROUP;
      args.cgroup = static_cast<std::uint64_t>(group.into.get());
    }
    const pid_t pid = sys::clone3(args);
    if (pid == 0) inside();
    writeAll(answer, std::to_string(pid), "the answer pipe");
  } catch (...) {
    reportAndExit(errors, "joining the container");
  }
  ::_exit(0);
}

}  // namespace

Container execute(int pidfd, pid_t pid, const Spec& spec) {
  checkCommand(spec);
  Pipe errors = Pipe::make();
  Pipe answer = Pipe::make();
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
  const Cgroup group = CgroupTree{}.find(cgroupNameOf(pid));

  const Launched helper = cloneChild({}, [&] {
    errors.read.reset();
    answer.read.reset();
    const int errorPipe = side.errors.get();
    joinAndClone(pidfd, group, answer.write.get(), errorPipe,
                 [&] { runInside(spec, std::move(side), null.get()); });
  });
  side = {};
  answer.write.reset();
  const std::string pidText = readAll(answer.read.get(), "the pid of the new process");
  waitFor(helper.pid);
  const auto child = text::parseUnsigned(pidText);
  if (!child) {
    awaitExec(errors.read, spec.argv.front());
    throw Error{Kind::internal, "the process that joins the container ended without an answer"};
  }
  // A child of ours that nobody has waited for: its pid cannot have been given away.
  const auto childPid = static_cast<pid_t>(*child);
  auto held = std::make_unique<Container::Impl>(Launched{childPid, sys::pidfdOpen(childPid)});
  Container::Impl& impl = *held;
  Container container{std::move(held)};
  awaitExec(errors.read, spec.argv.front());
  if (spec.tty) impl.terminal = sys::receiveFd(terminal.first.get());
  return container;
}

}  // namespace img::runtime
