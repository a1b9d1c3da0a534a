#include "runtime/launch.h"

#include <fcntl.h>
#include <linux/sched.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <exception>
#include <tuple>

#include "base/log.h"
#include "base/sys.h"
#include "base/text.h"
#include "runtime/architecture.h"
#include "runtime/borrowed_clone.h"
#include "runtime/command.h"
#include "runtime/device_rules.h"
#include "runtime/early_network.h"
#include "runtime/init.h"
#include "runtime/launched.h"
#include "runtime/mounts.h"
#include "runtime/namespaces.h"
#include "runtime/own_binary.h"
#include "runtime/privileges.h"
#include "runtime/sysctls.h"

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

// `img update` may have added version 1 groups meanwhile.
void addLateGroups(Cgroup& group) {
  if (group.isUnified) return;
  for (std::string& folder : CgroupTree{}.find(group.name).folders) {
    const bool isKnown =
        std::find(group.folders.begin(), group.folders.end(), folder) != group.folders.end();
    if (!isKnown) group.folders.push_back(std::move(folder));
  }
}

}  // namespace

Container::Container(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Container::Container(Container&&) noexcept = default;

Container::~Container() {
  if (!impl_ || impl_->isReaped) return;
  try {
    kill(SIGKILL);
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
  // One who is killed cannot kill what is below it.
  const bool isLast = impl_->isSupervised && signal == SIGKILL;
  sys::pidfdSendSignal(impl_->pidfd.get(), isLast ? kEndAll : signal);
}
bool Container::outOfMemory() const {
  return impl_->outOfMemory;
}
std::optional<std::uint64_t> Container::peakMemory() const {
  return impl_->peakMemory;
}
std::vector<std::string> Container::cgroupFolders() const {
  return impl_->cgroup ? impl_->cgroup->folders : std::vector<std::string>{};
}

ExitStatus Container::wait() {
  if (impl_->isReaped) return impl_->status;
  siginfo_t info{};
  // PID 1 is reported only after every other process of its pid namespace is gone
  // (zap_pid_ns_processes() in the kernel runs first), so nothing of the container lives after
  // this. In a pid namespace that it shares, what it left behind ends with its cgroup below.
  sys::check(
      [&] { return ::waitid(P_PIDFD, static_cast<id_t>(impl_->pidfd.get()), &info, WEXITED); },
      "wait for the container");
  impl_->isReaped = true;
  if (impl_->cgroup) {
    if (!impl_->hasLateGroups || impl_->hasLateGroups()) addLateGroups(*impl_->cgroup);
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
    if (group || (!spec.limits.any() && !spec.isCgroupRequired)) return;
    throw Error{Kind::unsupported, spec.isCgroupRequired ? "the container cannot have a cgroup"
                                                         : "cannot set the limits of the container"}
        .code("cgroup")
        .why("no cgroup can be written to")
        .hint(
            "run as root, or have a cgroup delegated (systemd-run --user --scope -p Delegate=yes "
            "img ...); --cgroups=disabled runs the container without limits");
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

// The caller's ends of what leads to the child.
struct Ends {
  Fd errors, go, terminal, trees;
};

// What is ready before the clone.
ChildSide prepareSide(const Spec& spec, Ends& ends) {
  ChildSide side;
  Pipe errors = Pipe::make();
  ends.errors = std::move(errors.read);
  side.errors = std::move(errors.write);
  side.program = makeContainerInit();
  if (spec.userNamespace.isUsed()) {
    std::tie(ends.trees, side.trees) = sys::socketPair();
  } else {
    side.mounts = prepareMounts(spec.mounts);
    side.rootfs = spec.mountRootfs();
  }
  if (spec.tty) std::tie(ends.terminal, side.terminalSocket) = sys::socketPair();
  if (spec.onCreated) {
    Pipe go = Pipe::make();
    ends.go = std::move(go.write);
    side.go = std::move(go.read);
  }
  return side;
}

void enterCgroup(const Spec& spec, Cgroup& group, clone_args& args, ChildSide& side) {
  if (group.into) {
    args.flags |= CLONE_INTO_CGROUP;
    args.cgroup = static_cast<std::uint64_t>(group.into.get());
  }
  side.cgroupView = prepareCgroupView(group);
  side.cgroups = std::move(group.entries);
  side.unshareCgroup = spec.cgroup.from == Namespace::From::own;
}

[[noreturn]] void runJoiner(const Spec& spec, clone_args args, ChildSide side, Fd answer) {
  try {
    dieWithParent();
    if (!hasReader(side.errors.get())) ::_exit(1);
    // In a user namespace that is there already others could look at this process.
    if (spec.userNamespace.fd >= 0) sys::prctl(PR_SET_DUMPABLE, 0, "hide this process");
    joinBeforeClone(spec);
    args.flags |=
        CLONE_PARENT;  // clone(2): the caller's child, with the caller's signal at its end
    const pid_t pid = sys::clone3(args);
    if (pid == 0) {
      answer.reset();  // the caller reads it to its end
      runContainer(spec, std::move(side));
    }
    writeAll(answer.get(), std::to_string(pid), "the answer of the joiner");
  } catch (...) {
    reportAndExit(side.errors.get(), "joining the namespaces");
  }
  ::_exit(0);
}

Launched cloneByJoiner(const Spec& spec, const clone_args& args, Ends& ends, ChildSide& side) {
  Pipe answer = Pipe::make();
  const Launched joiner = cloneChild({}, [&] {
    ends = {};
    answer.read.reset();
    runJoiner(spec, args, std::move(side), std::move(answer.write));
  });
  answer.write.reset();
  // The number in this pid namespace: setns(2) leaves the joiner's own as it is.
  const auto pid = text::parseUnsigned(readAll(answer.read.get(), "the answer of the joiner"));
  waitFor(joiner.pid);
  if (pid) {
    // A child of ours that nobody has waited for: its pid cannot have been given away.
    return {static_cast<pid_t>(*pid), sys::pidfdOpen(static_cast<pid_t>(*pid))};
  }
  side = {};
  const ExecReport report = readReport(ends.errors, spec.argv.front());
  if (report.error) throw Error{*report.error};
  throw Error{Kind::internal, "the process that joins namespaces ended without an answer"};
}

// The parent sleeps until the command is executed: it must have nothing to do before that. Memory
// of the parent may not be counted to the container, lest the parent ends with it (a limit of
// memory), and nobody else may see the child (a pid namespace that is shared).
bool mayBorrowMemory(const Spec& spec) {
  return spec.isCallerBrief && !spec.onCreated && !spec.tty && !spec.userNamespace.isUsed() &&
         !spec.limits.any() && spec.pid.from == Namespace::From::own && !needsJoiner(spec);
}

Fd sameNumber(const Fd& fd) {
  return Fd{fd.get()};
}

std::vector<Fd> sameNumbers(const std::vector<Fd>& fds) {
  std::vector<Fd> same;
  for (const Fd& fd : fds) same.push_back(sameNumber(fd));
  return same;
}

// The objects stay the parent's; the child has the descriptors too, and does not return.
[[noreturn]] void runInBorrowedMemory(const Spec& spec, const Ends& ends, const ChildSide& side) {
  if (ends.errors) ::close(ends.errors.get());
  ChildSide own;
  own.errors = sameNumber(side.errors);
  own.program = sameNumber(side.program);
  own.rootfs = sameNumber(side.rootfs);
  own.mounts = sameNumbers(side.mounts);
  own.cgroups = sameNumbers(side.cgroups);
  own.network = sameNumber(side.network);
  own.unshareCgroup = side.unshareCgroup;
  own.cgroupView.isUnified = side.cgroupView.isUnified;
  for (const auto& [name, tree] : side.cgroupView.trees) {
    own.cgroupView.trees.emplace_back(name, sameNumber(tree));
  }
  runContainer(spec, std::move(own));
}

Launched cloneContainer(const Spec& spec, const clone_args& args, Ends& ends, ChildSide& side) {
  if (needsJoiner(spec)) return cloneByJoiner(spec, args, ends, side);
  if (mayBorrowMemory(spec)) {
    return cloneBorrowing(args, [&] { runInBorrowedMemory(spec, ends, side); });
  }
  return cloneChild(args, [&] {
    ends = {};
    runContainer(spec, std::move(side));
  });
}

// Hard limits of the machine's root are raised by it alone, not by root of another user namespace.
void raiseLimits(const Spec& spec, pid_t pid) {
  for (const ResourceLimit& limit : spec.resourceLimits) {
    const rlimit value{limit.soft, limit.hard};
    // What is refused here is refused in the container as well, which then names it.
    ::prlimit(pid, static_cast<__rlimit_resource>(limit.resource), &value, nullptr);
  }
}

// A user namespace has its ids only now, and ID-mapped mounts are made with it.
Fd giveTrees(const Spec& spec, pid_t pid, const Fd& socket) {
  if (spec.userNamespace.isOwn()) writeIdMaps(pid, spec.userNamespace);
  const Fd own = spec.userNamespace.isOwn() ? openNamespace(pid, "user") : Fd{};
  const int user = own ? own.get() : spec.userNamespace.fd;
  Fd rootfs = spec.mountMappedRootfs ? spec.mountMappedRootfs(user) : spec.mountRootfs();
  const std::vector<Fd> mounts = prepareMounts(spec.mounts, user);
  giveStreams(spec, outsideRootOf(pid));
  raiseLimits(spec, pid);
  sys::sendFd(socket.get(), rootfs.get());
  for (const Fd& mount : mounts) {
    if (mount) sys::sendFd(socket.get(), mount.get());
  }
  return rootfs;
}

// Returns what went wrong here. The child's own failure, which may be the reason, comes first:
// without trees or a byte in the pipe it ends.
// `netns`: where the child goes by itself; empty: it is there already.
std::exception_ptr letGo(const Spec& spec, pid_t pid, Fd netns, Ends& ends, Fd& rootfs) {
  std::exception_ptr trouble;
  try {
    if (ends.trees) rootfs = giveTrees(spec, pid, ends.trees);
    if (spec.onCreated) {
      if (!netns) netns = openNamespace(pid, "net");
      spec.onCreated(pid, netns.get());
      writeAll(ends.go.get(), "g", "the pipe to the container");
    }
  } catch (...) {
    trouble = std::current_exception();
  }
  ends.trees.reset();
  ends.go.reset();
  return trouble;
}

void warnOfSharedProcesses(const Spec& spec, bool hasCgroup) {
  if (hasCgroup || spec.pid.from == Namespace::From::own) return;
  log::warn(
      "without a cgroup and in a pid namespace that is not its own: processes that the command "
      "leaves behind outlive the container");
}

}  // namespace

Launched cloneBy(clone_args args, const std::function<pid_t(clone_args&)>& clone) {
  const SignalsBlocked blocked;
  int pidfd = -1;
  args.flags |= CLONE_PIDFD;
  args.pidfd = reinterpret_cast<std::uintptr_t>(&pidfd);
  args.exit_signal = SIGCHLD;
  const pid_t pid = [&] {
    try {
      return clone(args);
    } catch (Error& error) {
      if (error.errnum() == EPERM) error.hint("new namespaces need root (CAP_SYS_ADMIN) here");
      // Without the code and the hint of ENOSPC, which are about a disk.
      if (error.errnum() == ENOSPC)
        throw Error{Kind::failed, error.cause()}.hint(
            "a limit of /proc/sys/user/max_*_namespaces is reached");
      throw;
    }
  }();
  return {pid, Fd{pidfd}};
}

Launched cloneChild(clone_args args, const std::function<void()>& child) {
  return cloneBy(args, [&](clone_args& complete) {
    const pid_t pid = sys::clone3(complete);
    if (pid != 0) return pid;
    child();
    ::_exit(0);
  });
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
  checkSysctls(spec);
  // With a user namespace, the network namespace must belong to that.
  const bool isNew = spec.network == Network::none && !spec.userNamespace.isUsed();
  EarlyNetwork late{isNew && spec.earlyNetwork == nullptr};
  EarlyNetwork& network = isNew && spec.earlyNetwork != nullptr ? *spec.earlyNetwork : late;
  Ends ends;
  ChildSide side = prepareSide(spec, ends);
  CgroupHolder cgroup{spec};
  if (cgroup.group) applyDeviceRules(*cgroup.group, spec);
  warnOfSharedProcesses(spec, cgroup.group.has_value());
  clone_args args{};
  args.flags = namespaceFlags(spec, cgroup.group.has_value());
  side.network = network.take();
  if (side.network) args.flags &= ~std::uint64_t{CLONE_NEWNET};
  if (cgroup.group) enterCgroup(spec, *cgroup.group, args, side);

  auto held = std::make_unique<Container::Impl>(cloneContainer(spec, args, ends, side));
  held->cgroup = std::exchange(cgroup.group, std::nullopt);
  held->hasLateGroups = spec.hasLateGroups;
  Container::Impl& impl = *held;
  Container container{std::move(held)};
  // The child holds its own copies; the end of the pipe and, once this function is left, the end of
  // the mounts depend on it alone.
  Fd rootfs = std::move(side.rootfs);
  Fd netns = std::move(side.network);
  side = {};
  const std::exception_ptr trouble = letGo(spec, container.pid(), std::move(netns), ends, rootfs);
  const ExecReport report = readReport(ends.errors, spec.argv.front());
  if (trouble && !report.error) std::rethrow_exception(trouble);
  if (report.error) throw explainForeign(*report.error, rootfs.get(), spec);
  if (spec.tty) impl.terminal = sys::receiveFd(ends.terminal.get());
  return container;
}

}  // namespace img::runtime
