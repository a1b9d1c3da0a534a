#include "runtime/early_network.h"

#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <cstring>
#include <system_error>

namespace img::runtime {

bool bringLoopbackUp() noexcept {
  const Fd socket{::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)};
  if (!socket) return false;
  ifreq request{};
  std::strcpy(request.ifr_name, "lo");
  request.ifr_flags = IFF_UP | IFF_RUNNING;
  return ::ioctl(socket.get(), SIOCSIFFLAGS, &request) == 0;
}

EarlyNetwork::EarlyNetwork(bool isWanted) {
  if (!isWanted) return;
  try {
    thread_ = std::jthread{[this] { make(); }};
  } catch (const std::system_error&) {  // a limit on threads: the clone makes it
  }
}

void EarlyNetwork::make() noexcept {
  // Of this thread alone (unshare(2): the namespaces are an attribute of a task).
  if (::unshare(CLONE_NEWNET) != 0 || !bringLoopbackUp()) return;
  result_ = Fd{::open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC)};
}

Fd EarlyNetwork::take() {
  if (thread_.joinable()) thread_.join();
  return std::move(result_);
}

}  // namespace img::runtime
