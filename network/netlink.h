// Interfaces, addresses and routes of one network namespace, through libnl's route library
// (rtnetlink(7)). A socket belongs to the namespace it was opened in, wherever its owner goes.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "network/address.h"

struct nl_sock;

namespace img::network {

class [[nodiscard]] RouteSocket {
 public:
  RouteSocket();  // of the calling thread's namespace
  RouteSocket(const RouteSocket&) = delete;
  RouteSocket& operator=(const RouteSocket&) = delete;
  ~RouteSocket();
  [[nodiscard]] nl_sock* get() const { return socket_; }

 private:
  nl_sock* socket_ = nullptr;
};

// Throws `action: reason` with the errno that the library's code stands for.
void checkNetlink(int code, std::string_view action);

struct Link {
  int index = 0;
  int mtu = 0;
  bool isBridge = false;
  bool isUp = false;
};
std::optional<Link> findLink(const RouteSocket& socket, const std::string& name);

void makeBridge(const RouteSocket& socket, const std::string& name, const Mac& mac, int mtu);
void setLinkUp(const RouteSocket& socket, int index);
void removeLink(const RouteSocket& socket, int index);

// A pair of interfaces: `name` here, a port of the bridge and up; "eth0" in the namespace of the
// descriptor, not up yet.
struct VethPair {
  std::string name;
  int bridge = 0;  // its index
  int netns = -1;
  Mac mac{};  // of eth0
  int mtu = 0;
};
inline constexpr char kInsideName[] = "eth0";
void makeVeth(const RouteSocket& socket, const VethPair& pair);

void addAddress(const RouteSocket& socket, int index, Ipv4 address, const Subnet& subnet);
void addDefaultRoute(const RouteSocket& socket, int index, Ipv4 gateway);
// The first IPv4 address of an interface, with its prefix.
struct InterfaceAddress {
  Ipv4 address;
  int prefix = 0;
};
std::optional<InterfaceAddress> findAddress(const RouteSocket& socket, int index);

// What the host uses already, but for interface `except`: the subnets it is in itself, and those
// together with the ones it has routes to.
std::vector<Subnet> interfaceSubnets(const RouteSocket& socket, int except);
std::vector<Subnet> usedSubnets(const RouteSocket& socket, int except);
// Whether anything leads outside, by IPv4 or IPv6.
bool hasDefaultRoute(const RouteSocket& socket);
// From here on the socket becomes readable when interfaces, addresses or routes change; it is of no
// other use then. drainChanges() makes it wait again.
void watchRoutes(const RouteSocket& socket);
int descriptorOf(const RouteSocket& socket);
void drainChanges(const RouteSocket& socket);

// The interface that leads outside and its next hop.
struct Uplink {
  int index = 0;
  int mtu = 0;
  std::optional<Ipv4> gateway;
  std::string mac;
};
std::optional<Uplink> findUplink(const RouteSocket& socket);

}  // namespace img::network
