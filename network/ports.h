// The listening sockets of published ports. They are bound before the container is made, so that a
// taken port costs nothing but a message, and handed to the relay (port_relay.h) that serves them.
// Whoever holds such a socket holds the port: there is nothing to clean up after a killed process.
#pragma once

#include <sys/socket.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/fd.h"

namespace img::network {

enum class Protocol { tcp, udp };

struct PortRequest {
  std::string hostIp;          // empty: all addresses of both families; "0.0.0.0", "::": of one
  std::uint16_t hostPort = 0;  // 0: a free one from kFirstFreePort up, the same on each address
  std::uint16_t containerPort = 0;
  Protocol protocol = Protocol::tcp;
};

struct BoundPort {
  Fd socket;           // non-blocking; tcp: listens
  std::string hostIp;  // as it is bound, never empty
  std::uint16_t hostPort = 0, containerPort = 0;
  Protocol protocol = Protocol::tcp;
};

inline constexpr std::uint16_t kFirstFreePort = 32768;

// All or nothing, in the order of the requests, the IPv4 address of one first. A machine without
// IPv6 gives IPv4 alone for an empty address. Throws with exit code 125: Kind::busy, code
// "port-in-use" with the holder where it can be told; Kind::denied for a port that needs a right.
std::vector<BoundPort> bindPorts(const std::vector<PortRequest>& requests);

// Who holds a port of the host, as far as /proc tells us.
struct PortHolder {
  pid_t pid = 0;
  std::string command;  // its short name (comm)
};
std::optional<PortHolder> findPortHolder(std::uint16_t port, Protocol protocol);

std::string_view protocolName(Protocol protocol);

// An address of a socket, of either family.
struct SocketAddress {
  sockaddr_storage raw{};
  socklen_t size = 0;
  [[nodiscard]] int family() const { return raw.ss_family; }
  [[nodiscard]] const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&raw); }
};
// nullopt: `ip` is no address. A scope ("fe80::1%eth0") is allowed.
std::optional<SocketAddress> socketAddress(const std::string& ip, std::uint16_t port);

}  // namespace img::network
