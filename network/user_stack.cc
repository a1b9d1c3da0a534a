#include "network/user_stack.h"

#include <fcntl.h>
#include <linux/mount.h>
#include <linux/sched.h>
#include <poll.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <vector>

#include "base/environment.h"
#include "base/log.h"
#include "base/sys.h"
#include "base/text.h"
#include "network/namespace.h"
#include "network/netlink.h"
#include "network/programs.h"

namespace img::network {
namespace {

constexpr int kReadyMs = 10'000;
constexpr int kFailed = 1;
constexpr size_t kLongestMessage = 4096;
// What pasta answers questions for names at: an address of no network (RFC 3927).
constexpr char kPastaNameServer[] = "169.254.1.1";
constexpr char kSlirpNameServer[] = "10.0.2.3";  // slirp4netns(1), "--cidr"
// Where the namespace gets a name that both programs can open: they give up CAP_SYS_PTRACE before,
// without which /proc/PID/ns/net of the container is closed to them, and newer ones close inherited
// descriptors. Only their own mount namespace shows it; neither needs what was there.
constexpr char kPlace[] = "/sys";
constexpr char kNamespacePath[] = "/sys/netns";

std::vector<std::string> pastaCommand(const std::string& path, const StackOptions& options) {
  // Nothing is forwarded by pasta itself: ports are published by our relay, and "auto", the
  // default, would open every port of the one side on the other.
  std::vector<std::string> argv = {path, "--foreground", "--quiet", "--config-net"};
  for (const char* direction : {"-t", "-u", "-T", "-U"}) {
    argv.insert(argv.end(), {direction, "none"});
  }
  argv.insert(argv.end(), {"--ns-ifname", kInsideName, "--dns-forward", kPastaNameServer});
  if (!options.reachesHost) argv.emplace_back("--no-map-gw");
  argv.insert(argv.end(), {"--netns", kNamespacePath});
  return argv;
}

std::vector<std::string> slirpCommand(const std::string& path, const StackOptions& options) {
  std::vector<std::string> argv = {path, "--configure", "--mtu=65520", "--netns-type=path"};
  if (!options.reachesHost) argv.emplace_back("--disable-host-loopback");
  argv.insert(argv.end(), {kNamespacePath, kInsideName});
  return argv;
}

std::vector<char*> pointers(std::vector<std::string>& words) {
  std::vector<char*> out;
  for (std::string& word : words) out.push_back(word.data());
  out.push_back(nullptr);
  return out;
}

Fd makeMessages() {
  return Fd{
      sys::check([] { return ::memfd_create("messages", MFD_CLOEXEC); }, "make a memory file")};
}

// The namespace as a file of this process's own mount namespace.
void showNamespace(int netns) {
  sys::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr);
  sys::mount("img", kPlace, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=0755,size=64k");
  sys::openat(AT_FDCWD, kNamespacePath, O_WRONLY | O_CREAT | O_EXCL, 0444).reset();
  sys::mount(sys::procPath(netns).c_str(), kNamespacePath, nullptr, MS_BIND, nullptr);
}

[[noreturn]] void execute(std::vector<std::string>& argv, int messages) {
  const int null = ::open("/dev/null", O_RDWR | O_CLOEXEC);
  ::dup2(null, 0);
  ::dup2(messages, 1);
  ::dup2(messages, 2);
  sys::closeRange(3, ~0U);
  ::signal(SIGPIPE, SIG_DFL);  // pasta of 2023 takes an ignored one for an error
  std::vector<std::string> environment = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C"};
  ::execve(argv.front().c_str(), pointers(argv).data(), pointers(environment).data());
  ::_exit(kFailed);
}

// PID 1 of a pid namespace that holds the program alone: when this process is killed, which happens
// when our own ends, the kernel kills the program as well. The program could not look after itself:
// it changes its credentials, and with that the kernel forgets whose death it wanted to hear of
// (prctl(2), PR_SET_PDEATHSIG).
[[noreturn]] void guard(std::vector<std::string>& argv, int netns, int messages, int parent) {
  try {
    sys::prctl(PR_SET_PDEATHSIG, SIGKILL, "die with the parent");
    pollfd hangUp{parent, POLLIN, 0};
    if (::poll(&hangUp, 1, 0) != 0) ::_exit(kFailed);
    ::setsid();  // the keys of a terminal are for the container
    sigset_t none;
    ::sigemptyset(&none);
    ::pthread_sigmask(SIG_SETMASK, &none, nullptr);
    showNamespace(netns);
    const pid_t child = sys::check([] { return ::fork(); }, "fork");
    if (child == 0) execute(argv, messages);
    sys::closeRange(0, ~0U);
    int status = 0;
    while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
  } catch (...) {
    const std::string text = currentError().cause();
    if (::write(messages, text.data(), text.size()) < 0) ::_exit(kFailed + 1);
  }
  ::_exit(kFailed);
}

// `life`: its writing end stays open with the caller until the guard has begun.
Fd startGuard(std::vector<std::string>& argv, int netns, int messages, Pipe& life) {
  int pidfd = -1;
  clone_args args{};
  args.flags = CLONE_PIDFD | CLONE_NEWPID | CLONE_NEWNS;
  args.pidfd = reinterpret_cast<std::uintptr_t>(&pidfd);
  args.exit_signal = SIGCHLD;
  if (sys::clone3(args) == 0) {
    life.write.reset();
    guard(argv, netns, messages, life.read.get());
  }
  return Fd{pidfd};
}

std::string wordsOf(const Fd& messages) {
  std::string text(kLongestMessage, '\0');
  text.resize(preadFull(messages.get(), std::as_writable_bytes(std::span{text}), 0, "messages"));
  return text::escape(text::trim(text), 500);
}

}  // namespace

std::optional<UserStack::Found> UserStack::find() {
  const std::string only = variableOrEmpty("IMG_NETWORK_STACK");
  constexpr std::pair<const char*, Program> kKnown[] = {{"pasta", Program::pasta},
                                                        {"slirp4netns", Program::slirp4netns}};
  for (const auto& [name, program] : kKnown) {
    if (!only.empty() && only != name) continue;
    if (auto path = findHostProgram(name)) return Found{program, *path};
  }
  return std::nullopt;
}

std::string UserStack::nameServer(Program program) {
  return program == Program::pasta ? kPastaNameServer : kSlirpNameServer;
}

UserStack::UserStack(const Found& found, int netns, const StackOptions& options) try {
  const Fd messages = makeMessages();
  std::vector<std::string> argv = found.program == Program::pasta
                                      ? pastaCommand(found.path, options)
                                      : slirpCommand(found.path, options);
  log::debug("starting {}", text::join(argv, " "));
  Pipe life = Pipe::make();
  guard_ = startGuard(argv, netns, messages.get(), life);
  try {
    waitUntilReady(netns, messages);
  } catch (...) {
    stop();
    throw;
  }
} catch (Error& error) {
  error.during("connecting the container through {}", found.path);
  throw;
}

UserStack::~UserStack() {
  stop();
}

void UserStack::stop() noexcept {
  if (!guard_) return;
  try {
    sys::pidfdSendSignal(guard_.get(), SIGKILL);
    siginfo_t info{};
    sys::check([&] { return ::waitid(P_PIDFD, static_cast<id_t>(guard_.get()), &info, WEXITED); },
               "wait for the network's program");
  } catch (...) {  // ended and reaped, or another process's child by now
  }
  guard_.reset();
}

void UserStack::waitUntilReady(int netns, const Fd& messages) {
  std::optional<RouteSocket> changesInside, inside;
  inNamespace(netns, [&] {
    changesInside.emplace();
    inside.emplace();
  });
  const RouteSocket& changes = *changesInside;
  const RouteSocket& socket = *inside;
  watchRoutes(changes);
  const std::int64_t end = sys::monotonicMs() + kReadyMs;
  while (!hasDefaultRoute(socket)) {
    const std::int64_t left = end - sys::monotonicMs();
    if (left <= 0) {
      throw Error{Kind::failed, "the network did not come up"}.why(wordsOf(messages));
    }
    pollfd ready[] = {{descriptorOf(changes), POLLIN, 0}, {guard_.get(), POLLIN, 0}};
    sys::check([&] { return ::poll(ready, 2, static_cast<int>(left)); }, "poll");
    if (ready[1].revents != 0) {
      throw Error{Kind::failed, "the network's program ended"}.why(wordsOf(messages));
    }
    drainChanges(changes);
  }
  const auto uplink = findUplink(socket);
  if (!uplink) return;  // IPv6 alone
  gateway_ = uplink->gateway;
  mac_ = uplink->mac;
  if (const auto own = findAddress(socket, uplink->index)) {
    address_ = own->address;
    prefix_ = own->prefix;
  }
}

}  // namespace img::network
