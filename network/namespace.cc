#include "network/namespace.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <linux/nsfs.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <exception>
#include <functional>
#include <string>
#include <thread>
#include <utility>

#include "base/log.h"
#include "base/process.h"
#include "base/sys.h"

namespace img::network {
namespace {

constexpr char kOwnNamespace[] = "/proc/thread-self/ns/net";

class ComeBack {
 public:
  ComeBack() : home_(ownNamespace()) {}
  ComeBack(const ComeBack&) = delete;
  ComeBack& operator=(const ComeBack&) = delete;
  ~ComeBack() {
    if (::setns(home_.get(), CLONE_NEWNET) == 0) return;
    log::write(log::Level::error, "cannot go back to the host's network namespace");
    std::terminate();
  }

 private:
  Fd home_;
};

// The namespace is the thread's own, so nobody else leaves home.
void inThread(const std::function<void()>& work) {
  std::exception_ptr trouble;
  std::jthread{[&] {
    try {
      work();
    } catch (...) {
      trouble = std::current_exception();
    }
  }}.join();
  if (trouble) std::rethrow_exception(trouble);
}

void awayFromHome(const std::function<void()>& work) {
  if (!ownsNamespace()) return inThread(work);
  const ComeBack comeBack;
  work();
}

}  // namespace

void inNamespace(int netns, const std::function<void()>& work) {
  awayFromHome([&] {
    sys::setns(netns, CLONE_NEWNET, "a network namespace");
    work();
  });
}

Fd openNamespace(pid_t pid) {
  return sys::openat(AT_FDCWD, fmt::format("/proc/{}/ns/net", pid), O_RDONLY);
}

Fd ownNamespace() {
  return sys::openat(AT_FDCWD, kOwnNamespace, O_RDONLY);
}

namespace {

void applySettings() {
  // Groups that the user namespace does not have are refused; root's is there.
  if (!trySetSysctl("ipv4/ping_group_range", "0 2147483647")) {
    trySetSysctl("ipv4/ping_group_range", "0 0");
  }
  trySetSysctl("ipv4/ip_unprivileged_port_start", "0");
}

// Whoever lacks the right here has it in a user namespace of his own, for the networks that are
// made there (user_namespaces(7)): a container that was given CAP_SYS_ADMIN alone.
Fd makeInUserNamespace() try {
  const std::pair<Fd, Fd> sockets = sys::socketPair();
  Child child = Child::fork([&] {
    sys::unshare(CLONE_NEWUSER | CLONE_NEWNET);
    bringLoopbackUp();
    applySettings();
    sys::sendFd(sockets.second.get(), ownNamespace().get());
    return std::string{};
  });
  child.finish();
  return sys::receiveFd(sockets.first.get());
} catch (Error& error) {
  error.during("making a network without CAP_NET_ADMIN")
      .hint("--network host shares the network of this process");
  throw;
}

}  // namespace

Fd makeNamespace() {
  if (!canAdministerNetworks()) return makeInUserNamespace();
  Fd made;
  awayFromHome([&] {
    sys::unshare(CLONE_NEWNET);
    bringLoopbackUp();
    applySettings();
    made = ownNamespace();
  });
  return made;
}

bool canAdministerNetworks() {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  std::array<__user_cap_data_struct, _LINUX_CAPABILITY_U32S_3> data{};
  sys::check([&] { return ::syscall(SYS_capget, &header, data.data()); }, "read capabilities");
  return (data[0].effective >> CAP_NET_ADMIN & 1) != 0;
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
