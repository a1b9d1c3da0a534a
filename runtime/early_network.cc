#include "runtime/early_network.h"

#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <csignal>
#include <cstring>
#include <optional>
#include <utility>

namespace img::runtime {

bool bringLoopbackUp() noexcept {
  const Fd socket{::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)};
  if (!socket) return false;
  ifreq request{};
  std::strcpy(request.ifr_name, "lo");
  request.ifr_flags = IFF_UP | IFF_RUNNING;
  return ::ioctl(socket.get(), SIOCSIFFLAGS, &request) == 0;
}

namespace {

// While two threads share the table of descriptors, each time it grows waits for RCU, about ten
// milliseconds (expand_fdtable() in the kernel): it gets its size before. An image of many layers
// has a descriptor for each.
void growDescriptorTable() {
  constexpr int kEnough = 767;
  const Fd high{::fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, kEnough)};  // refused: then it is smaller
}

// The CPUs that this process may use but the one it is on: the scheduler starts a new thread there,
// ahead of its maker, even where another CPU is idle, and nothing would happen at the same time.
std::optional<cpu_set_t> otherCpus() {
  cpu_set_t cpus;
  CPU_ZERO(&cpus);
  // Refused where the machine has more CPUs than such a set.
  if (::sched_getaffinity(0, sizeof cpus, &cpus) != 0) return std::nullopt;
  const int here = ::sched_getcpu();
  if (here >= 0 && here < CPU_SETSIZE) CPU_CLR(static_cast<unsigned>(here), &cpus);
  if (CPU_COUNT(&cpus) == 0) return std::nullopt;
  return cpus;
}

}  // namespace

EarlyNetwork::EarlyNetwork(bool isWanted) {
  const std::optional<cpu_set_t> cpus = isWanted ? otherCpus() : std::nullopt;
  if (!cpus) return;
  growDescriptorTable();
  // Not std::thread: what that allocates, the new thread frees, and a thread that touches the heap
  // gets one of its own, which the container's keeper would drag along.
  pthread_attr_t attributes;
  ::pthread_attr_init(&attributes);
  ::pthread_attr_setstacksize(&attributes, size_t{64} << 10);
  // The caller may block signals later, to read them: none may end the program here meanwhile.
  sigset_t all;
  ::sigfillset(&all);
  ::pthread_attr_setsigmask_np(&attributes, &all);
  ::pthread_attr_setaffinity_np(&attributes, sizeof *cpus, &*cpus);
  // Not started for a limit on threads: the clone makes the namespace.
  isRunning_ = ::pthread_create(&thread_, &attributes, make, this) == 0;
  ::pthread_attr_destroy(&attributes);
}

EarlyNetwork::~EarlyNetwork() {
  join();
}

void* EarlyNetwork::make(void* self) noexcept {
  // Of this thread alone (unshare(2): namespaces are an attribute of a task). Nothing is allocated.
  if (::unshare(CLONE_NEWNET) != 0 || !bringLoopbackUp()) return nullptr;
  static_cast<EarlyNetwork*>(self)->result_ =
      Fd{::open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC)};
  return nullptr;
}

void EarlyNetwork::join() {
  if (std::exchange(isRunning_, false)) ::pthread_join(thread_, nullptr);
}

Fd EarlyNetwork::take() {
  join();
  return std::move(result_);
}

}  // namespace img::runtime
