#include "runtime/launch.h"

#include <fcntl.h>
#include <linux/sched.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <exception>

#include "base/log.h"
#include "base/sys.h"
#include "base/text.h"
#include "runtime/architecture.h"
#include "runtime/command.h"
#include "runtime/init.h"
#include "runtime/launched.h"
#include "runtime/mounts.h"
#include "runtime/own_binary.h"

namespace img::runtime {

namespace {

// A group that stays behind is litter for a later command, no reason to lose the exit status.
void removeQuietly(Cgroup& group) {
  try {
    group.remove();
  } catch (const Error& error) {
    log::warn("{}", error.cause());
  }
}

}  // namespace

Container::Container(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Container::Container(Container&&) noexcept = default;

Container::~Container() {
  if (!impl_ || impl_->isReaped) return;
  try {
    sys::pidfdSendSignal(impl_->pidfd.get(), SIGKILL);
    wait();
  } catch (...) {  // a destructor reports nothing; the process is dead or not ours
  }
}

pid_t Container::pid() const {
  return impl_->pid;
}
int Container::pidfd() const {
  return impl_->pidfd.get();
}
Fd Container::takeTerminal() {
  return std::move(impl_->terminal);
}
void Container::kill(int signal) const {
  sys::pidfdSendSignal(impl_->pidfd.get(), signal);
}
bool Container::outOfMemory() const {
  return impl_->outOfMemory;
}
std::optional<std::uint64_t> Container::peakMemory() const {
  return impl_->peakMemory;
}

ExitStatus Container::wait() {
  if (impl_->isReaped) return impl_->status;
  siginfo_t info{};
  // PID 1 is reported only after every other process of its pid namespace is gone
  // (zap_pid_ns_processes() in the kernel runs first), so nothing of the container lives after
  // this.
  sys::check(
      [&] { return ::waitid(P_PIDFD, static_cast<id_t>(impl_->pidfd.get()), &info, WEXITED); },
      "wait for the container");
  impl_->isReaped = true;
  if (impl_->cgroup) {
    impl_->outOfMemory = impl_->cgroup->outOfMemory();
    if (impl_->outOfMemory) impl_->peakMemory = impl_->cgroup->peakMemory();
    removeQuietly(*impl_->cgroup);
  }
  impl_->status = info.si_code == CLD_EXITED ? ExitStatus{info.si_status, 0}
                                             : ExitStatus{128 + info.si_status, info.si_status};
  return impl_->status;
}

namespace {

// Signals stay blocked from before the clone until the child has put all handlers back: none of the
// caller's runs there.
class SignalsBlocked {
 public:
  SignalsBlocked() {
    sigset_t all;
    ::sigfillset(&all);
    ::pthread_sigmask(SIG_SETMASK, &all, &old_);
  }
  SignalsBlocked(const SignalsBlocked&) = delete;
  SignalsBlocked& operator=(const SignalsBlocked&) = delete;
  SignalsBlocked(SignalsBlocked&&) = delete;
  SignalsBlocked& operator=(SignalsBlocked&&) = delete;
  ~SignalsBlocked() { ::pthread_sigmask(SIG_SETMASK, &old_, nullptr); }

 private:
  sigset_t old_;
};

// The container's groups until a Container takes them over.
struct CgroupHolder {
  explicit CgroupHolder(const Spec& spec) {
    if (!spec.cgroupName.empty()) {
      group = CgroupTree{}.create(spec.cgroupName, spec.limits);
    }
    if (!group && spec.limits.any()) {
      throw Error{Kind::unsupported, "cannot set the limits of the container"}
          .code("cgroup")
          .why("no cgroup can be written to")
          .hint("--cgroups=disabled runs the container without limits");
    }
  }
  CgroupHolder(const CgroupHolder&) = delete;
  CgroupHolder& operator=(const CgroupHolder&) = delete;
  CgroupHolder(CgroupHolder&&) = delete;
  CgroupHolder& operator=(CgroupHolder&&) = delete;
  ~CgroupHolder() {
    if (group) removeQuietly(*group);
  }

  std::optional<Cgroup> group;
};

std::uint64_t cloneFlags(const Spec& spec, bool hasCgroup) {
  std::uint64_t flags = CLONE_PIDFD | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS;
  if (spec.network == Network::none) flags |= CLONE_NEWNET;
  // With a cgroup of its own the child makes the cgroup namespace after it has moved in.
  if (!hasCgroup) flags |= CLONE_NEWCGROUP;
  return flags;
}

// Returns what spec.onCreated threw. The child's own failure, which may be the reason, comes first:
// without a byte in the pipe it ends.
std::exception_ptr letGo(const Spec& spec, const Container& container, Pipe& go) {
  if (!spec.onCreated) return {};
  std::exception_ptr trouble;
  try {
    spec.onCreated(container.pid());
    writeAll(go.write.get(), "g", "the pipe to the container");
  } catch (...) {
    trouble = std::current_exception();
  }
  go.write.reset();
  return trouble;
}

}  // namespace

Launched cloneChild(clone_args args, const std::function<void()>& child) {
  const SignalsBlocked blocked;
  int pidfd = -1;
  args.flags |= CLONE_PIDFD;
  args.pidfd = reinterpret_cast<std::uintptr_t>(&pidfd);
  args.exit_signal = SIGCHLD;
  const pid_t pid = [&] {
    try {
      return sys::clone3(args);
    } catch (Error& error) {
      if (error.errnum() == EPERM) error.hint("new namespaces need root (CAP_SYS_ADMIN) here");
      // Without the code and the hint of ENOSPC, which are about a disk.
      if (error.errnum() == ENOSPC)
        throw Error{Kind::failed, error.cause()}.hint(
            "a limit of /proc/sys/user/max_*_namespaces is reached");
      throw;
    }
  }();
  if (pid == 0) {
    child();
    ::_exit(0);
  }
  return {pid, Fd{pidfd}};
}

ExecReport readReport(const Fd& errors, const std::string& name) {
  const std::string text = readAll(errors.get(), "the error pipe", size_t{1} << 20);
  ExecReport report;
  constexpr size_t kRecord = 5;  // container_init.c
  if (!text.empty() && text[0] != 'X' && text[0] != 'P') {
    report.error = Error::fromJson(text);
    return report;
  }
  for (size_t at = 0; at + kRecord <= text.size(); at += kRecord) {
    std::uint32_t value = 0;
    for (size_t i = kRecord - 1; i > 0; --i) {
      value = value << 8 | static_cast<unsigned char>(text[at + i]);
    }
    if (text[at] == 'P') report.pid = static_cast<pid_t>(value);
    if (text[at] == 'X') report.error = explainExecFailure(static_cast<int>(value), name);
  }
  return report;
}

void checkCommand(const Spec& spec) {
  if (spec.argv.empty()) throw Error{Kind::usage, "no command to run"};
  for (const std::string& word : spec.argv) {
    if (word.find('\0') != std::string::npos) throw Error{Kind::usage, "a NUL byte in the command"};
  }
  if (spec.cwd.empty() || spec.cwd[0] != '/') {
    throw Error::make(Kind::usage, "the working folder {} is not an absolute path",
                      text::quote(spec.cwd));
  }
}

Container start(const Spec& spec) {
  checkCommand(spec);
  Pipe errors = Pipe::make();
  std::pair<Fd, Fd> terminal;
  ChildSide side;
  side.program = makeContainerInit();
  side.mounts = prepareMounts(spec.mounts);
  side.rootfs = spec.mountRootfs();
  if (spec.tty) {
    terminal = sys::socketPair();
    side.terminalSocket = std::move(terminal.second);
  }
  side.errors = std::move(errors.write);
  Pipe go;
  if (spec.onCreated) {
    go = Pipe::make();
    side.go = std::move(go.read);
  }
  CgroupHolder cgroup{spec};
  clone_args args{};
  args.flags = cloneFlags(spec, cgroup.group.has_value());
  if (cgroup.group) {
    if (cgroup.group->into) {
      args.flags |= CLONE_INTO_CGROUP;
      args.cgroup = static_cast<std::uint64_t>(cgroup.group->into.get());
    }
    side.cgroups = std::move(cgroup.group->entries);
    side.unshareCgroup = true;
    side.mountCgroup = cgroup.group->isUnified;
  }

  Launched launched = cloneChild(args, [&] {
    errors.read.reset();
    go.write.reset();
    runContainer(spec, std::move(side));
  });
  auto held = std::make_unique<Container::Impl>(std::move(launched));
  held->cgroup = std::exchange(cgroup.group, std::nullopt);
  Container::Impl& impl = *held;
  Container container{std::move(held)};
  // The child holds its own copies; the end of the pipe and, once this function is left, the end of
  // the mounts depend on it alone.
  const Fd rootfs = std::move(side.rootfs);
  side = {};
  const std::exception_ptr trouble = letGo(spec, container, go);
  const ExecReport report = readReport(errors.read, spec.argv.front());
  if (trouble && !report.error) std::rethrow_exception(trouble);
  if (report.error) throw explainForeign(*report.error, rootfs.get(), spec);
  if (spec.tty) impl.terminal = sys::receiveFd(terminal.first.get());
  return container;
}

}  // namespace img::runtime
