#include "runtime/init.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <poll.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <cstring>

#include "base/sys.h"
#include "base/text.h"
#include "runtime/apparmor.h"
#include "runtime/command.h"
#include "runtime/early_network.h"
#include "runtime/mounts.h"
#include "runtime/namespaces.h"
#include "runtime/own_binary.h"
#include "runtime/paths.h"
#include "runtime/privileges.h"
#include "runtime/rootfs.h"
#include "runtime/user_namespace.h"

namespace img::runtime {
namespace {

// Descriptors while a container is set up: 0-2 its standard streams, 3 the error pipe.
constexpr int kErrorPipe = 3;
constexpr int kFirstFree = 4;
constexpr int kSetupFailed = 125;
constexpr int kNotExecutable = 126;
constexpr long kPipeMagic = 0x50495045;  // PIPEFS_MAGIC, linux/magic.h

Fd aboveStandard(int fd) {
  return Fd{sys::check([&] { return ::fcntl(fd, F_DUPFD_CLOEXEC, kFirstFree + 1); },
                       "duplicate a descriptor")};
}

void place(int fd, int where) {
  sys::check([&] { return ::dup2(fd, where); }, "set up descriptor {}", where);
}

// An unprivileged program may open /dev/stdout anew: anonymous pipes and our own pty become its.
// Files and terminals of the caller keep their owner.
void giveStreamsTo(const Identity& identity, bool hasTerminal) {
  if (identity.uid == 0) return;
  const auto give = [&](int fd) {
    if (::fchown(fd, identity.uid, static_cast<gid_t>(-1)) == 0) return;
    // In a user namespace: a pipe of somebody whom it does not have (EPERM), or a user whom it does
    // not have (EINVAL), which becomeUser() says better.
    if (errno == EPERM || errno == EINVAL) return;
    throw Error::fromErrno(errno, fmt::format("give a stream to user {}", identity.uid));
  };
  if (hasTerminal) give(0);
  for (int fd = 0; !hasTerminal && fd < 3; ++fd) {
    if (!S_ISFIFO(sys::fstat(fd).st_mode)) continue;
    if (sys::fstatfs(fd, "a stream").f_type != kPipeMagic) continue;
    give(fd);
  }
}

void takeTerminal(const Spec& spec, const Terminal& terminal, bool isFurther) {
  const int fd = terminal.slave.get();
  if (spec.ttyRows != 0 || spec.ttyColumns != 0) {
    winsize size{};
    size.ws_row = spec.ttyRows;
    size.ws_col = spec.ttyColumns;
    sys::ioctl(fd, TIOCSWINSZ, &size, "set the size of the terminal");
  }
  if (!isFurther) sys::check([&] { return ::ioctl(fd, TIOCSCTTY, 0); }, "take the terminal");
}

// From here on 0-2 are the container's and 3 the error pipe; everything else but `program` is
// closed.
void arrangeDescriptors(const Spec& spec, ChildSide& side, Stage& stage) {
  Fd streams[3];
  const int given[3] = {spec.standardInput, spec.standardOutput, spec.standardError};
  for (size_t i = 0; i < 3; ++i) {
    const int source = stage.terminal  ? stage.terminal->slave.get()
                       : given[i] >= 0 ? given[i]
                                       : stage.null;
    streams[i] = aboveStandard(source);
  }
  const Fd errors = aboveStandard(side.errors.get());
  const Fd program = aboveStandard(side.program.get());
  for (int i = 0; i < 3; ++i) place(streams[i].get(), i);
  // Without close-on-exec for the one execve of our own program, which sets it again.
  place(errors.get(), kErrorPipe);
  sys::check([&] { return ::dup3(program.get(), kFirstFree, O_CLOEXEC); }, "place the program");
}

void checkWorkingFolder(const std::string& path, int status) {
  // getcwd(2) gives "(unreachable)/..." for a folder that is not below the root of the process.
  const std::string here = [] {
    char buffer[4096];
    return ::getcwd(buffer, sizeof buffer) != nullptr ? std::string{buffer} : std::string{};
  }();
  if (here.empty() || here[0] != '/' || here == "/proc" || here.substr(0, 6) == "/proc/") {
    throw Error::make(Kind::denied, "the working folder {} is not inside the container",
                      text::quote(path))
        .exitCode(status);
  }
}

// True when it could be entered; a folder that only root can enter is entered before the user
// changes.
bool tryEnter(const std::string& path, int status) {
  if (::chdir(path.c_str()) == 0) return true;
  if (errno == EACCES) return false;
  throw Error::fromErrno(errno, fmt::format("enter the working folder {}", text::quote(path)))
      .exitCode(status);
}

// The parent lays the network meanwhile. End of file without a byte: it died or gave up.
void waitForParent(const Fd& go) {
  char byte = 0;
  if (go && sys::check([&] { return ::read(go.get(), &byte, 1); }, "wait for the parent") != 1) {
    ::_exit(kSetupFailed);
  }
}

// In a user namespace: the maps are written when the trees come, and only root of it can mount. A
// parent that cannot go on closes the socket, and says why itself.
void enterUserNamespace(const Spec& spec, ChildSide& side) {
  if (!side.trees) return;
  // A caller that is itself in a user namespace may write the maps of a readable process only.
  if (isInitialUserNamespace()) sys::prctl(PR_SET_DUMPABLE, 0, "hide this process");
  const auto receive = [&] {
    try {
      return sys::receiveFd(side.trees.get());
    } catch (const Error&) {
      ::_exit(kSetupFailed);
    }
  };
  side.rootfs = receive();
  for (const Mount& mount : spec.mounts) {
    side.mounts.push_back(mount.type == Mount::Type::tmpfs ? Fd{} : receive());
  }
  becomeNamespaceRoot();
  for (size_t i = 0; i < spec.mounts.size(); ++i) {
    if (!side.mounts[i]) side.mounts[i] = makeTmpfs(spec.mounts[i]);
  }
  side.trees.reset();
}

// In the caller's /proc, as long as this process's files there belong to it.
void setOomScore(const Spec& spec) {
  if (!spec.oomScoreAdj) return;
  const Fd file = sys::openat(AT_FDCWD, "/proc/self/oom_score_adj", O_RDWR);
  const std::string own{text::trim(readAll(file.get(), "oom_score_adj"))};
  if (*spec.oomScoreAdj < std::atoi(own.c_str())) {  // security.md P5
    throw Error::make(Kind::denied, "the oom score {} is lower than the caller's own, {}",
                      *spec.oomScoreAdj, own);
  }
  writeAll(file.get(), std::to_string(*spec.oomScoreAdj), "oom_score_adj");
}

void setHostNames(const Spec& spec) {
  if (spec.uts.from != Namespace::From::own) return;
  if (!spec.hostname.empty()) sys::sethostname(spec.hostname);
  if (spec.domainname.empty()) return;
  sys::check([&] { return ::setdomainname(spec.domainname.data(), spec.domainname.size()); },
             "set the domain name");
}

std::vector<std::string> completeEnvironment(const Spec& spec, const Identity& identity) {
  std::vector<std::string> env = spec.env;
  for (const std::string& entry : env) {
    if (entry.compare(0, 5, "HOME=") == 0) return env;
  }
  env.push_back("HOME=" + identity.home);
  return env;
}

InitMode initMode(const Spec& spec, bool isFurther) {
  if (isFurther) return spec.tty ? InitMode::joinWithTerminal : InitMode::join;
  return spec.init ? InitMode::supervise : InitMode::replace;
}

}  // namespace

bool hasReader(int pipe) {
  pollfd entry{pipe, POLLOUT, 0};
  return ::poll(&entry, 1, 0) < 0 || (entry.revents & POLLERR) == 0;
}

void reportAndExit(int errors, const char* step) noexcept {
  try {
    Error error = currentError();
    if (!error.exitCode()) error.exitCode(kSetupFailed);
    error.addStep(step);
    writeAll(errors, error.toJson(), "the error pipe");
  } catch (...) {  // nobody listens: the exit status has to do
  }
  ::_exit(kSetupFailed);
}

void becomeCommand(const Spec& spec, ChildSide side, Stage stage) {
  const char* step = "preparing the process";
  int errors = side.errors.get();
  try {
    cleanProcessState(spec);
    const Identity identity = [&] {
      const Fd root = sys::openat(AT_FDCWD, "/", O_PATH | O_DIRECTORY);
      return resolveUser(root.get(), spec.user, spec.groupAdd);
    }();
    if (stage.terminal) {
      takeTerminal(spec, *stage.terminal, stage.isFurther);
      sys::sendFd(side.terminalSocket.get(), stage.terminal->master.get());
    }
    const bool hasTerminal = stage.terminal.has_value();
    arrangeDescriptors(spec, side, stage);
    errors = kErrorPipe;
    // Close, not only mark: "/proc/self/fd/N" is looked up before execve closes anything
    // (CVE-2024-21626). The Fd objects above still name these numbers and are never destroyed: this
    // function does not return.
    sys::closeRange(kFirstFree + 1, ~0U);
    giveStreamsTo(identity, hasTerminal);

    step = "entering the working folder";
    const int badFolder = stage.isFurther ? kNotExecutable : kSetupFailed;
    const bool isEntered = tryEnter(spec.cwd, badFolder);
    step = "giving up privileges";
    becomeUser(spec, identity);
    step = "entering the working folder";
    // Entered again as the user, whose rights count; what only root may enter was entered above.
    if (!tryEnter(spec.cwd, badFolder) && !isEntered) {
      throw Error::fromErrno(EACCES,
                             fmt::format("enter the working folder {}", text::quote(spec.cwd)))
          .exitCode(badFolder);
    }
    checkWorkingFolder(spec.cwd, badFolder);

    step = "starting the command";
    const std::vector<std::string> env = completeEnvironment(spec, identity);
    const std::string path = findCommand(spec.argv.front(), env);
    enterContainerInit(kFirstFree, initMode(spec, stage.isFurther), path, spec.argv, env);
  } catch (...) {
    reportAndExit(errors, step);
  }
}

void runContainer(const Spec& spec, ChildSide side) {
  const char* step = "entering the namespaces";
  Stage stage;
  Devices devices;
  try {
    dieWithParent();
    if (!hasReader(side.errors.get())) ::_exit(kSetupFailed);
    setOomScore(spec);
    for (const Fd& procs : side.cgroups) writeAll(procs.get(), "0", "cgroup.procs");
    enterUserNamespace(spec, side);
    sys::prctl(PR_SET_DUMPABLE, 0, "hide this process");
    enterAppArmorOnExec(spec.appArmor);
    ::umask(022);
    if (side.unshareCgroup) sys::unshare(CLONE_NEWCGROUP);
    if (!needsJoiner(spec)) joinAfterClone(spec);
    if (side.network) sys::setns(side.network.get(), CLONE_NEWNET, "the new network namespace");
    // Nothing of ours shows on the host from here on (security.md N2).
    sys::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr);

    step = "building the root file system of the container";
    devices = assembleRootfs(side.rootfs.get(), spec, side.mounts, side.cgroupView);
    pivotInto(side.rootfs.get());
    setHostNames(spec);
    if (spec.network == Network::none && !side.network && !bringLoopbackUp()) {
      throw Error::fromErrno(errno, "bring the loopback interface up");
    }
    stage.null = devices.null.get();
    stage.terminal = std::move(devices.terminal);
    waitForParent(side.go);
  } catch (...) {
    reportAndExit(side.errors.get(), step);
  }
  becomeCommand(spec, std::move(side), std::move(stage));
}

}  // namespace img::runtime
