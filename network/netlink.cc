#include "network/netlink.h"

#include <net/if.h>
#include <netlink/addr.h>
#include <netlink/cache.h>
#include <netlink/errno.h>
#include <netlink/netlink.h>
#include <netlink/route/addr.h>
#include <netlink/route/link.h>
#include <netlink/route/link/veth.h>
#include <netlink/route/nexthop.h>
#include <netlink/route/route.h>
#include <netlink/socket.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>
#include <memory>

#include "base/error.h"

namespace img::network {
namespace {

template <auto release>
struct Release {
  template <class T>
  void operator()(T* object) const {
    release(object);
  }
};
using LinkObject = std::unique_ptr<rtnl_link, Release<rtnl_link_put>>;
using VethObject = std::unique_ptr<rtnl_link, Release<rtnl_link_veth_release>>;
using AddressObject = std::unique_ptr<rtnl_addr, Release<rtnl_addr_put>>;
using RouteObject = std::unique_ptr<rtnl_route, Release<rtnl_route_put>>;
using PlainAddress = std::unique_ptr<nl_addr, Release<nl_addr_put>>;
using Cache = std::unique_ptr<nl_cache, Release<nl_cache_free>>;

// The library answers with numbers of its own; these are what somebody reacts to.
int errnoOf(int code) {
  switch (code < 0 ? -code : code) {
    case NLE_PERM: return EPERM;
    case NLE_OPNOTSUPP:
    case NLE_AF_NOSUPPORT:
    case NLE_PROTO_MISMATCH: return EOPNOTSUPP;
    case NLE_EXIST: return EEXIST;
    case NLE_NODEV: return ENODEV;
    case NLE_OBJ_NOTFOUND: return ENOENT;
    case NLE_BUSY: return EBUSY;
    case NLE_NOMEM: return ENOMEM;
    case NLE_INVAL: return EINVAL;
    case NLE_RANGE: return ERANGE;
    default: return 0;
  }
}

template <class T>
T* allocated(T* object) {
  if (object == nullptr) throw Error{Kind::failed, "out of memory for a netlink message"};
  return object;
}

PlainAddress plainAddress(Ipv4 address, int prefix) {
  const unsigned char bytes[4] = {static_cast<unsigned char>(address.value >> 24),
                                  static_cast<unsigned char>(address.value >> 16),
                                  static_cast<unsigned char>(address.value >> 8),
                                  static_cast<unsigned char>(address.value)};
  PlainAddress plain{allocated(nl_addr_build(AF_INET, bytes, sizeof bytes))};
  nl_addr_set_prefixlen(plain.get(), prefix);
  return plain;
}

PlainAddress plainAddress(const Mac& mac) {
  return PlainAddress{allocated(nl_addr_build(AF_LLC, mac.data(), mac.size()))};
}

std::optional<Ipv4> ipv4Of(const nl_addr* address) {
  if (address == nullptr || nl_addr_get_len(address) != 4) return std::nullopt;
  const auto* bytes = static_cast<const unsigned char*>(nl_addr_get_binary_addr(address));
  Ipv4 out;
  for (int i = 0; i < 4; ++i) out.value = out.value << 8 | bytes[i];
  return out;
}

template <class Work>
void forEach(nl_cache* cache, Work&& work) {
  for (nl_object* object = nl_cache_get_first(cache); object != nullptr;
       object = nl_cache_get_next(object)) {
    work(object);
  }
}

Cache addressesOf(const RouteSocket& socket) {
  nl_cache* cache = nullptr;
  checkNetlink(rtnl_addr_alloc_cache(socket.get(), &cache), "list the addresses");
  return Cache{cache};
}

Cache routesOf(const RouteSocket& socket, int family) {
  nl_cache* cache = nullptr;
  checkNetlink(rtnl_route_alloc_cache(socket.get(), family, 0, &cache), "list the routes");
  return Cache{cache};
}

LinkObject linkOf(const RouteSocket& socket, int index) {
  rtnl_link* found = nullptr;
  checkNetlink(rtnl_link_get_kernel(socket.get(), index, nullptr, &found), "look at an interface");
  return LinkObject{found};
}

}  // namespace

void checkNetlink(int code, std::string_view action) {
  if (code >= 0) return;
  const int errnum = errnoOf(code);
  if (errnum != 0) throw Error::fromErrno(errnum, action);
  throw Error::make(Kind::failed, "{}: {}", action, nl_geterror(code));
}

RouteSocket::RouteSocket() : socket_(allocated(nl_socket_alloc())) {
  const int code = nl_connect(socket_, NETLINK_ROUTE);
  if (code >= 0) return;
  nl_socket_free(socket_);
  checkNetlink(code, "open a route socket");
}

RouteSocket::~RouteSocket() {
  nl_socket_free(socket_);
}

std::optional<Link> findLink(const RouteSocket& socket, const std::string& name) {
  rtnl_link* found = nullptr;
  const int code = rtnl_link_get_kernel(socket.get(), 0, name.c_str(), &found);
  if (errnoOf(code) == ENODEV || errnoOf(code) == ENOENT) return std::nullopt;
  checkNetlink(code, fmt::format("look at interface {}", name));
  const LinkObject link{found};
  const char* type = rtnl_link_get_type(found);
  return Link{rtnl_link_get_ifindex(found), static_cast<int>(rtnl_link_get_mtu(found)),
              type != nullptr && std::strcmp(type, "bridge") == 0,
              (rtnl_link_get_flags(found) & IFF_UP) != 0};
}

void makeBridge(const RouteSocket& socket, const std::string& name, const Mac& mac, int mtu) {
  const LinkObject link{allocated(rtnl_link_alloc())};
  checkNetlink(rtnl_link_set_type(link.get(), "bridge"), "make a bridge");
  rtnl_link_set_name(link.get(), name.c_str());
  // An address of its own: otherwise the bridge has the lowest of its ports, which changes with
  // them.
  rtnl_link_set_addr(link.get(), plainAddress(mac).get());
  rtnl_link_set_mtu(link.get(), static_cast<unsigned>(mtu));
  checkNetlink(rtnl_link_add(socket.get(), link.get(), NLM_F_CREATE | NLM_F_EXCL),
               fmt::format("make the bridge {}", name));
}

void setLinkUp(const RouteSocket& socket, int index) {
  const LinkObject change{allocated(rtnl_link_alloc())};
  rtnl_link_set_ifindex(change.get(), index);
  rtnl_link_set_flags(change.get(), IFF_UP);
  checkNetlink(rtnl_link_change(socket.get(), change.get(), change.get(), 0),
               "bring an interface up");
}

void removeLink(const RouteSocket& socket, int index) {
  const LinkObject link{allocated(rtnl_link_alloc())};
  rtnl_link_set_ifindex(link.get(), index);
  checkNetlink(rtnl_link_delete(socket.get(), link.get()), "remove an interface");
}

void makeVeth(const RouteSocket& socket, const VethPair& pair) {
  const VethObject link{allocated(rtnl_link_veth_alloc())};
  rtnl_link_set_name(link.get(), pair.name.c_str());
  rtnl_link_set_master(link.get(), pair.bridge);
  rtnl_link_set_mtu(link.get(), static_cast<unsigned>(pair.mtu));
  rtnl_link_set_flags(link.get(), IFF_UP);
  const LinkObject peer{allocated(rtnl_link_veth_get_peer(link.get()))};
  rtnl_link_set_name(peer.get(), kInsideName);
  rtnl_link_set_ns_fd(peer.get(), pair.netns);
  rtnl_link_set_mtu(peer.get(), static_cast<unsigned>(pair.mtu));
  rtnl_link_set_addr(peer.get(), plainAddress(pair.mac).get());
  checkNetlink(rtnl_link_add(socket.get(), link.get(), NLM_F_CREATE | NLM_F_EXCL),
               fmt::format("make the pair of interfaces {}", pair.name));
}

void addAddress(const RouteSocket& socket, int index, Ipv4 address, const Subnet& subnet) {
  const AddressObject entry{allocated(rtnl_addr_alloc())};
  rtnl_addr_set_ifindex(entry.get(), index);
  rtnl_addr_set_family(entry.get(), AF_INET);
  rtnl_addr_set_local(entry.get(), plainAddress(address, subnet.prefix).get());
  rtnl_addr_set_broadcast(entry.get(), plainAddress(subnet.broadcast(), 32).get());
  checkNetlink(rtnl_addr_add(socket.get(), entry.get(), NLM_F_CREATE | NLM_F_EXCL),
               fmt::format("give an interface the address {}", address.str()));
}

void addDefaultRoute(const RouteSocket& socket, int index, Ipv4 gateway) {
  const RouteObject route{allocated(rtnl_route_alloc())};
  rtnl_route_set_family(route.get(), AF_INET);
  rtnl_route_set_dst(route.get(), plainAddress(Ipv4{}, 0).get());
  rtnl_nexthop* hop = allocated(rtnl_route_nh_alloc());  // the route's from here on
  rtnl_route_nh_set_ifindex(hop, index);
  rtnl_route_nh_set_gateway(hop, plainAddress(gateway, 32).get());
  rtnl_route_add_nexthop(route.get(), hop);
  checkNetlink(rtnl_route_add(socket.get(), route.get(), NLM_F_CREATE | NLM_F_EXCL),
               "set the default route");
}

std::optional<InterfaceAddress> findAddress(const RouteSocket& socket, int index) {
  std::optional<InterfaceAddress> found;
  const Cache cache = addressesOf(socket);
  forEach(cache.get(), [&](nl_object* object) {
    auto* entry = reinterpret_cast<rtnl_addr*>(object);
    if (found || rtnl_addr_get_ifindex(entry) != index) return;
    if (rtnl_addr_get_family(entry) != AF_INET) return;
    const auto address = ipv4Of(rtnl_addr_get_local(entry));
    if (address) found = InterfaceAddress{*address, rtnl_addr_get_prefixlen(entry)};
  });
  return found;
}

std::vector<Subnet> interfaceSubnets(const RouteSocket& socket, int except) {
  std::vector<Subnet> used;
  const Cache addresses = addressesOf(socket);
  forEach(addresses.get(), [&](nl_object* object) {
    auto* entry = reinterpret_cast<rtnl_addr*>(object);
    if (rtnl_addr_get_ifindex(entry) == except || rtnl_addr_get_family(entry) != AF_INET) return;
    const auto address = ipv4Of(rtnl_addr_get_local(entry));
    if (address) used.push_back(Subnet::of(*address, rtnl_addr_get_prefixlen(entry)));
  });
  return used;
}

std::vector<Subnet> usedSubnets(const RouteSocket& socket, int except) {
  std::vector<Subnet> used = interfaceSubnets(socket, except);
  const Cache routes = routesOf(socket, AF_INET);
  forEach(routes.get(), [&](nl_object* object) {
    auto* route = reinterpret_cast<rtnl_route*>(object);
    nl_addr* target = rtnl_route_get_dst(route);
    const auto address = ipv4Of(target);
    const int prefix = target != nullptr ? static_cast<int>(nl_addr_get_prefixlen(target)) : 0;
    // The default route leads everywhere and takes nothing.
    if (!address || prefix == 0) return;
    rtnl_nexthop* hop = rtnl_route_nexthop_n(route, 0);
    if (hop != nullptr && rtnl_route_nh_get_ifindex(hop) == except) return;
    used.push_back(Subnet::of(*address, prefix));
  });
  return used;
}

std::optional<Uplink> findUplink(const RouteSocket& socket) {
  std::optional<Uplink> found;
  const Cache routes = routesOf(socket, AF_INET);
  forEach(routes.get(), [&](nl_object* object) {
    auto* route = reinterpret_cast<rtnl_route*>(object);
    nl_addr* target = rtnl_route_get_dst(route);
    if (found || (target != nullptr && nl_addr_get_prefixlen(target) != 0)) return;
    rtnl_nexthop* hop = rtnl_route_nexthop_n(route, 0);
    if (hop == nullptr) return;
    found = Uplink{rtnl_route_nh_get_ifindex(hop), 0, ipv4Of(rtnl_route_nh_get_gateway(hop)), ""};
  });
  if (found) {
    const LinkObject link = linkOf(socket, found->index);
    found->mtu = static_cast<int>(rtnl_link_get_mtu(link.get()));
    char text[64] = {};
    const nl_addr* mac = rtnl_link_get_addr(link.get());
    if (mac != nullptr) found->mac = nl_addr2str(mac, text, sizeof text);
  }
  return found;
}

bool hasDefaultRoute(const RouteSocket& socket) {
  bool found = false;
  const Cache routes = routesOf(socket, AF_UNSPEC);
  forEach(routes.get(), [&](nl_object* object) {
    auto* route = reinterpret_cast<rtnl_route*>(object);
    nl_addr* target = rtnl_route_get_dst(route);
    const bool isDefault = target == nullptr || nl_addr_get_prefixlen(target) == 0;
    // The kernel has an "unreachable" one for IPv6 until there is another.
    if (isDefault && rtnl_route_get_type(route) == RTN_UNICAST) found = true;
  });
  return found;
}

void watchRoutes(const RouteSocket& socket) {
  nl_socket_disable_seq_check(socket.get());
  checkNetlink(nl_socket_add_memberships(socket.get(), RTNLGRP_LINK, RTNLGRP_IPV4_ROUTE,
                                         RTNLGRP_IPV6_ROUTE, RTNLGRP_NONE),
               "watch the routes");
  checkNetlink(nl_socket_set_nonblocking(socket.get()), "watch the routes");
}

int descriptorOf(const RouteSocket& socket) {
  return nl_socket_get_fd(socket.get());
}

void drainChanges(const RouteSocket& socket) {
  char buffer[8192];
  while (::recv(descriptorOf(socket), buffer, sizeof buffer, MSG_DONTWAIT) > 0) {
  }
}

}  // namespace img::network
