#include "network/port_relay.h"

#include <grp.h>
#include <ifaddrs.h>
#include <linux/capability.h>
#include <malloc.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <cstring>
#include <memory>

#include "base/error.h"
#include "base/sys.h"
#include "network/event_loop.h"
#include "network/tcp_relay.h"
#include "network/udp_relay.h"

namespace img::network {
namespace {

constexpr uid_t kNobody = 65534;
constexpr char kProcessName[] = "img-port-relay";
// Descriptors that are no connections: streams, pipe, epoll, and some to spare.
constexpr size_t kOtherDescriptors = 32;
constexpr size_t kMaxUdpClients = 4096;
constexpr size_t kMaxPipes = 32;
// Buffers of stalled connections come from the heap: a mapping each would cost a page fault for
// every page of every one.
constexpr int kHeapBuffers = 1 << 20;

// A network namespace may be joined by who has CAP_SYS_ADMIN in its user namespace and in his own
// (setns(2)). Whoever made the container's user namespace has it there, but perhaps not here.
void join(const PortRelay::Place& place) {
  if (::setns(place.netns, CLONE_NEWNET) == 0) return;
  if (errno != EPERM) throw Error::fromErrno(errno, "join the network of the container");
  const Fd user = sys::openat(AT_FDCWD, fmt::format("/proc/{}/ns/user", place.container), O_RDONLY);
  sys::setns(user.get(), CLONE_NEWUSER, "the user namespace of the container");
  sys::setns(place.netns, CLONE_NEWNET, "the network of the container");
}

// Takes the capability to do so, hence before the ids change.
void emptyBoundingSet() {
  for (int capability = 0; capability <= CAP_LAST_CAP; ++capability) {
    // EINVAL: a kernel that does not know this one; EPERM: we have none to begin with.
    (void)::prctl(PR_CAPBSET_DROP, capability, 0, 0, 0);
  }
}

// A user namespace with a single id has no nobody, and may forbid setgroups(2): there the groups
// and the id are the user's own, and only the capabilities go.
void becomeNobody() {
  if (::setgroups(0, nullptr) != 0 && errno != EPERM) throw Error::fromErrno(errno, "setgroups");
  if (::setresgid(kNobody, kNobody, kNobody) != 0 && errno != EINVAL)
    throw Error::fromErrno(errno, "setresgid");
  if (::setresuid(kNobody, kNobody, kNobody) != 0 && errno != EINVAL)
    throw Error::fromErrno(errno, "setresuid");
}

void dropRights() {
  sys::prctl(PR_SET_NO_NEW_PRIVS, 1, "no_new_privs");
  emptyBoundingSet();
  if (::geteuid() == 0) becomeNobody();
  (void)::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  const std::array<__user_cap_data_struct, _LINUX_CAPABILITY_U32S_3> none{};
  sys::check([&] { return ::syscall(SYS_capset, &header, none.data()); }, "capset");
  sys::prctl(PR_SET_DUMPABLE, 0, "PR_SET_DUMPABLE");
  // After the ids: a change of them clears it (prctl(2)).
  sys::prctl(PR_SET_PDEATHSIG, SIGKILL, "PR_SET_PDEATHSIG");
}

size_t raiseDescriptorLimit() {
  rlimit limit{};
  sys::check([&] { return ::getrlimit(RLIMIT_NOFILE, &limit); }, "getrlimit");
  limit.rlim_cur = limit.rlim_max;
  sys::check([&] { return ::setrlimit(RLIMIT_NOFILE, &limit); }, "setrlimit");
  return limit.rlim_max == RLIM_INFINITY ? size_t{1} << 20 : static_cast<size_t>(limit.rlim_max);
}

// The first IPv4 and the first IPv6 address of an interface that is up, loopback and link-local
// ones aside.
std::vector<SocketAddress> interfaceAddresses() {
  ifaddrs* list = nullptr;
  if (::getifaddrs(&list) != 0) return {};
  const std::unique_ptr<ifaddrs, void (*)(ifaddrs*)> owner{list, ::freeifaddrs};
  std::vector<SocketAddress> found;
  for (const int family : {AF_INET, AF_INET6}) {
    for (const ifaddrs* one = list; one != nullptr; one = one->ifa_next) {
      const bool isUsable = one->ifa_addr != nullptr && one->ifa_addr->sa_family == family &&
                            (one->ifa_flags & IFF_UP) != 0 && (one->ifa_flags & IFF_LOOPBACK) == 0;
      if (!isUsable) continue;
      SocketAddress address;
      address.size = family == AF_INET ? sizeof(sockaddr_in) : sizeof(sockaddr_in6);
      std::memcpy(&address.raw, one->ifa_addr, address.size);
      const auto* v6 = reinterpret_cast<const sockaddr_in6*>(&address.raw);
      if (family == AF_INET6 && IN6_IS_ADDR_LINKLOCAL(&v6->sin6_addr)) continue;
      found.push_back(address);
      break;
    }
  }
  return found;
}

SocketAddress withPort(SocketAddress address, std::uint16_t port) {
  auto* v4 = reinterpret_cast<sockaddr_in*>(&address.raw);
  auto* v6 = reinterpret_cast<sockaddr_in6*>(&address.raw);
  (address.family() == AF_INET ? v4->sin_port : v6->sin6_port) = htons(port);
  return address;
}

// The addresses of the container. An interface may appear late (slirp4netns): as long as there is
// none, every connection looks again.
class OwnAddresses {
 public:
  explicit OwnAddresses(const std::string& known) {
    if (!known.empty()) addresses_.push_back(*socketAddress(known, 0));
  }

  std::vector<SocketAddress> at(std::uint16_t port) {
    if (addresses_.empty()) addresses_ = interfaceAddresses();
    std::vector<SocketAddress> targets;
    for (const SocketAddress& address : addresses_) targets.push_back(withPort(address, port));
    if (targets.empty()) targets = {*socketAddress("127.0.0.1", port)};
    return targets;
  }

 private:
  std::vector<SocketAddress> addresses_;
};

// Ends the process when the keeper is gone.
class Life final : public EventHandler {
 public:
  explicit Life(Fd pipe) : pipe_(std::move(pipe)) {}
  [[nodiscard]] int fd() const { return pipe_.get(); }
  void onEvents(std::uint32_t) override { ::_exit(0); }

 private:
  Fd pipe_;
};

// The keeper's lock, log and streams must not stay open here: a reader of its output would wait for
// us, and its record would look kept.
void closeAllBut(std::vector<int> kept) {
  std::sort(kept.begin(), kept.end());
  unsigned next = 3;
  for (const int fd : kept) {
    const auto number = static_cast<unsigned>(fd);
    if (number > next) sys::closeRange(next, number - 1);
    next = std::max(next, number + 1);
  }
  sys::closeRange(next, ~0U);
}

void detachFromCaller() {
  ::setsid();  // no signals from the caller's terminal
  sys::chdir("/");
  const Fd null = sys::openat(AT_FDCWD, "/dev/null", O_RDWR);
  for (int fd = 0; fd <= 2; ++fd) {
    sys::check([&] { return ::dup2(null.get(), fd); }, "redirect descriptor {}", fd);
  }
  // splice(2) has no MSG_NOSIGNAL.
  ::signal(SIGPIPE, SIG_IGN);
  // Those that end a container when they are sent to a whole group of processes: its ports are to
  // work until it has ended.
  sigset_t set;
  ::sigemptyset(&set);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2}) {
    ::sigaddset(&set, signal);
  }
  ::sigprocmask(SIG_BLOCK, &set, nullptr);  // NOLINT(concurrency-mt-unsafe): one thread
}

struct Task {
  std::vector<BoundPort> ports;
  std::string address;
  Fd life, report;
};

[[noreturn]] void serve(Task task) {
  const size_t descriptors = raiseDescriptorLimit();
  const size_t others = kOtherDescriptors + task.ports.size();
  const size_t free = descriptors > others + 4 ? descriptors - others : 4;
  const bool hasUdp = std::any_of(task.ports.begin(), task.ports.end(), [](const BoundPort& port) {
    return port.protocol == Protocol::udp;
  });
  const size_t forUdp = hasUdp ? std::min(kMaxUdpClients, free / 2) : 0;

  std::vector<int> kept = {task.life.get(), task.report.get()};
  for (const BoundPort& port : task.ports) kept.push_back(port.socket.get());
  closeAllBut(kept);
  EventLoop loop;
  OwnAddresses addresses{task.address};
  const Targets targets = [&](std::uint16_t port) { return addresses.at(port); };
  const size_t pipes = std::min(kMaxPipes, free / 16);
  TcpRelay tcp{loop, targets, {(free - forUdp) / 2 - pipes, pipes}};
  UdpRelay udp{loop, targets, {forUdp, UdpLimits{}.idleMs}};
  for (BoundPort& port : task.ports) {
    if (port.protocol == Protocol::tcp)
      tcp.listen(std::move(port.socket), port.containerPort);
    else
      udp.listen(std::move(port.socket), port.containerPort);
  }
  Life life{std::move(task.life)};
  loop.watch(life.fd(), EPOLLIN, life);
  writeAll(task.report.get(), "+", "report");
  task.report.reset();
  for (;;) {
    const int tcpMs = tcp.tidy();
    const int udpMs = udp.tidy();
    loop.wait(tcpMs < 0 || udpMs < 0 ? std::max(tcpMs, udpMs) : std::min(tcpMs, udpMs));
  }
}

}  // namespace

PortRelay PortRelay::start(std::vector<BoundPort> ports, const Place& place) {
  Pipe life = Pipe::make();
  Pipe report = Pipe::make();
  PortRelay relay;
  relay.child_ = Child::fork([&]() -> std::string {
    sys::prctl(PR_SET_NAME, reinterpret_cast<unsigned long>(kProcessName), "PR_SET_NAME");
    ::mallopt(M_MMAP_THRESHOLD, kHeapBuffers);  // NOLINT(concurrency-mt-unsafe): one thread
    life.write.reset();
    report.read.reset();
    detachFromCaller();
    join(place);
    dropRights();
    serve({std::move(ports), place.address, std::move(life.read), std::move(report.write)});
  });
  relay.life_ = std::move(life.write);
  report.write.reset();
  if (readAll(report.read.get(), "the report of the port relay") == "+") return relay;
  try {
    relay.child_.finish();
  } catch (Error& error) {
    throw error.addStep("publishing the ports of the container").exitCode(125);
  }
  throw Error{Kind::internal, "the port relay ended at once"}.exitCode(125);
}

}  // namespace img::network
