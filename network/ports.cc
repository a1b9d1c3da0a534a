#include "network/ports.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>

#include <cstring>
#include <limits>

#include "base/error.h"
#include "base/fs.h"
#include "base/sys.h"
#include "base/text.h"

namespace img::network {
namespace {

// As many as the kernel allows (net.core.somaxconn cuts it): the relay may be busy for a moment.
constexpr int kBacklog = 65535;
constexpr char kAnyIpv4[] = "0.0.0.0";
constexpr char kAnyIpv6[] = "::";

void setOption(int socket, int level, int name, int value) {
  sys::check([&] { return ::setsockopt(socket, level, name, &value, sizeof value); },
             "set option {} of a socket", name);
}

// What stands in the way of one socket: errno, or 0.
struct Attempt {
  Fd socket;
  int errnum = 0;
};

Attempt tryBind(const SocketAddress& address, Protocol protocol) {
  const int type = protocol == Protocol::tcp ? SOCK_STREAM : SOCK_DGRAM;
  Attempt attempt;
  attempt.socket = Fd{::socket(address.family(), type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)};
  if (!attempt.socket) return {Fd{}, errno};
  const int fd = attempt.socket.get();
  // Two sockets, one for each family, say plainly what is bound.
  if (address.family() == AF_INET6) setOption(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1);
  if (protocol == Protocol::tcp) {
    // Connections of an earlier container that wait in TIME_WAIT do not keep the port. On UDP the
    // option would let two bind the same port (socket(7), SO_REUSEADDR).
    setOption(fd, SOL_SOCKET, SO_REUSEADDR, 1);
  } else {
    // The answer leaves from the address that was asked (ip(7), IP_PKTINFO).
    if (address.family() == AF_INET) setOption(fd, IPPROTO_IP, IP_PKTINFO, 1);
    if (address.family() == AF_INET6) setOption(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1);
  }
  if (::bind(fd, address.get(), address.size) != 0) return {Fd{}, errno};
  // Two that both set SO_REUSEADDR may bind; only one of them may listen.
  if (protocol == Protocol::tcp && ::listen(fd, kBacklog) != 0) return {Fd{}, errno};
  return attempt;
}

[[noreturn]] void failInUse(const PortRequest& request, const std::string& ip) {
  Error error = Error::make(Kind::busy, "port {} of the host is taken",
                            fmt::format("{}/{}", request.hostPort, protocolName(request.protocol)));
  std::string why = "bind " + ip + ": address already in use (EADDRINUSE)";
  if (const auto holder = findPortHolder(request.hostPort, request.protocol)) {
    why += fmt::format("; process {} ({}) has it", holder->pid, text::escape(holder->command));
  }
  throw error.code("port-in-use")
      .why(why)
      .hint(fmt::format("-p {} takes a free port of the host", request.containerPort))
      .exitCode(125);
}

[[noreturn]] void failToBind(const PortRequest& request, const std::string& ip, int errnum) {
  if (errnum == EADDRINUSE) failInUse(request, ip);
  const std::string port = fmt::format("{}/{}", request.hostPort, protocolName(request.protocol));
  if (errnum == EACCES || errnum == EPERM) {
    throw Error::make(Kind::denied, "port {} of the host is not ours to take", port)
        .why("ports below net.ipv4.ip_unprivileged_port_start need root (CAP_NET_BIND_SERVICE)")
        .hint(fmt::format("use a higher one, as -p 8080:{}, or lower that sysctl",
                          request.containerPort))
        .exitCode(125);
  }
  if (errnum == EADDRNOTAVAIL) {
    throw Error::make(Kind::notFound, "{} is no address of this host", text::escape(ip))
        .why("bind: cannot assign requested address (EADDRNOTAVAIL)")
        .exitCode(125);
  }
  throw Error::fromErrno(errnum, fmt::format("bind port {} on {}", port, text::escape(ip)))
      .exitCode(125);
}

std::vector<std::string> addressesOf(const PortRequest& request) {
  if (!request.hostIp.empty()) return {request.hostIp};
  return {kAnyIpv4, kAnyIpv6};
}

bool hasNoIpv6(int errnum) {
  return errnum == EAFNOSUPPORT || errnum == EADDRNOTAVAIL;
}

// The request on all its addresses. `inUse`: instead of the error for a taken port, nothing.
std::vector<BoundPort> bindAll(const PortRequest& request, bool* inUse) {
  std::vector<BoundPort> bound;
  for (const std::string& ip : addressesOf(request)) {
    const auto address = socketAddress(ip, request.hostPort);
    if (!address) throw Error::make(Kind::usage, "{} is no IP address", text::quote(ip));
    Attempt attempt = tryBind(*address, request.protocol);
    if (!attempt.socket) {
      if (request.hostIp.empty() && ip == kAnyIpv6 && hasNoIpv6(attempt.errnum)) continue;
      if (inUse != nullptr && attempt.errnum == EADDRINUSE) {
        *inUse = true;
        return {};
      }
      failToBind(request, ip, attempt.errnum);
    }
    bound.push_back(
        {std::move(attempt.socket), ip, request.hostPort, request.containerPort, request.protocol});
  }
  return bound;
}

std::vector<BoundPort> bindAnyFree(PortRequest request) {
  for (int port = kFirstFreePort; port <= std::numeric_limits<std::uint16_t>::max(); ++port) {
    request.hostPort = static_cast<std::uint16_t>(port);
    bool inUse = false;
    std::vector<BoundPort> bound = bindAll(request, &inUse);
    if (!inUse) return bound;
  }
  throw Error::make(Kind::busy, "no port of the host from {} up is free", kFirstFreePort)
      .code("port-in-use")
      .exitCode(125);
}

}  // namespace

std::vector<BoundPort> bindPorts(const std::vector<PortRequest>& requests) {
  // The fixed ones first: a free one that we pick must not be what a later one asks for.
  std::vector<std::vector<BoundPort>> bound(requests.size());
  for (const bool isFixed : {true, false}) {
    for (size_t i = 0; i < requests.size(); ++i) {
      if ((requests[i].hostPort != 0) != isFixed) continue;
      bound[i] = isFixed ? bindAll(requests[i], nullptr) : bindAnyFree(requests[i]);
    }
  }
  std::vector<BoundPort> all;
  for (std::vector<BoundPort>& some : bound) {
    for (BoundPort& port : some) all.push_back(std::move(port));
  }
  return all;
}

std::string_view protocolName(Protocol protocol) {
  return protocol == Protocol::tcp ? "tcp" : "udp";
}

std::optional<SocketAddress> socketAddress(const std::string& ip, std::uint16_t port) {
  SocketAddress address;
  sockaddr_in v4{};
  if (::inet_pton(AF_INET, ip.c_str(), &v4.sin_addr) == 1) {
    v4.sin_family = AF_INET;
    v4.sin_port = htons(port);
    std::memcpy(&address.raw, &v4, sizeof v4);
    address.size = sizeof v4;
    return address;
  }
  sockaddr_in6 v6{};
  const size_t percent = ip.find('%');
  if (::inet_pton(AF_INET6, ip.substr(0, percent).c_str(), &v6.sin6_addr) != 1) return std::nullopt;
  v6.sin6_family = AF_INET6;
  v6.sin6_port = htons(port);
  if (percent != std::string::npos) {
    v6.sin6_scope_id = ::if_nametoindex(ip.c_str() + percent + 1);
    if (v6.sin6_scope_id == 0) return std::nullopt;
  }
  std::memcpy(&address.raw, &v6, sizeof v6);
  address.size = sizeof v6;
  return address;
}

}  // namespace img::network
