#include "network/namespace.h"

#include <fcntl.h>
#include <linux/nsfs.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstring>
#include <exception>
#include <string>

#include "base/log.h"
#include "base/sys.h"

namespace img::network {
namespace {

constexpr char kOwnNamespace[] = "/proc/thread-self/ns/net";

}  // namespace

NamespaceVisit::NamespaceVisit(int netns) : home_(ownNamespace()) {
  sys::setns(netns, CLONE_NEWNET, "a network namespace");
}

NamespaceVisit::~NamespaceVisit() {
  if (::setns(home_.get(), CLONE_NEWNET) == 0) return;
  log::write(log::Level::error, "cannot go back to the host's network namespace");
  std::terminate();
}

Fd openNamespace(pid_t pid) {
  return sys::openat(AT_FDCWD, fmt::format("/proc/{}/ns/net", pid), O_RDONLY);
}

Fd ownNamespace() {
  return sys::openat(AT_FDCWD, kOwnNamespace, O_RDONLY);
}

Fd makeNamespace() {
  // Visiting one's own namespace is how to come home from the new one.
  const NamespaceVisit visit{ownNamespace().get()};
  sys::unshare(CLONE_NEWNET);
  bringLoopbackUp();
  trySetSysctl("ipv4/ping_group_range", "0 2147483647");
  trySetSysctl("ipv4/ip_unprivileged_port_start", "0");
  return ownNamespace();
}

bool ownsNamespace() {
  if (::geteuid() != 0) return false;
  // EPERM: the owner is none of ours (ioctl_ns(2), NS_GET_USERNS).
  const Fd owner{::ioctl(ownNamespace().get(), NS_GET_USERNS)};
  if (!owner) return false;
  const struct stat ours =
      sys::fstat(sys::openat(AT_FDCWD, "/proc/thread-self/ns/user", O_RDONLY).get());
  const struct stat theirs = sys::fstat(owner.get());
  return ours.st_dev == theirs.st_dev && ours.st_ino == theirs.st_ino;
}

void bringLoopbackUp() {
  const Fd socket{
      sys::check([] { return ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0); }, "open a socket")};
  ifreq request{};
  std::strcpy(request.ifr_name, "lo");
  request.ifr_flags = IFF_UP | IFF_RUNNING;
  sys::ioctl(socket.get(), SIOCSIFFLAGS, &request, "bring the loopback interface up");
}

bool trySetSysctl(const char* path, const char* value) {
  const Fd file{::open((std::string{"/proc/sys/net/"} + path).c_str(), O_WRONLY | O_CLOEXEC)};
  return file && ::write(file.get(), value, std::strlen(value)) >= 0;
}

}  // namespace img::network
