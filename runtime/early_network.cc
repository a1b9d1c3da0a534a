#include "runtime/early_network.h"

#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <csignal>
#include <cstring>
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

}  // namespace

EarlyNetwork::EarlyNetwork(bool isWanted) {
  if (!isWanted) return;
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
