// How a network namespace of ours reaches the world: the bridge where this process may administer
// the host's network, a user-mode stack where it may not. Opened before the namespace exists, so
// that what cannot be is said before anything has started; attached when it does; gone with the
// object or with the process, whichever ends first.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "network/address.h"
#include "network/bridge.h"
#include "network/leases.h"
#include "network/resolver.h"
#include "network/settings.h"
#include "network/user_stack.h"

namespace img::network {

enum class Wanted {
  automatic,  // nobody asked: a bridge that cannot be made is a warning, not an error
  bridge,
  isolated,  // `private`: the bridge or a user-mode stack, whichever this process can have
};

struct ConnectionRequest {
  Wanted wanted = Wanted::automatic;
  Tenant tenant;                     // its address is --ip, when hasAddress
  bool hasAddress = false;           // --ip
  std::optional<Mac> mac;            // --mac-address
  bool reachesHostLoopback = false;  // of a user-mode stack: the gateway is the host
};

class [[nodiscard]] Connection {
 public:
  enum class Type { none, bridge, stack };

  static Connection open(const Settings& settings, const ConnectionRequest& request);
  // Once. `netns` is the descriptor of the namespace.
  void attach(int netns);
  // Another process carries it on, made by fork(2).
  void forget();

  [[nodiscard]] Type type() const { return type_; }
  [[nodiscard]] bool isConnected() const { return type_ != Type::none; }
  [[nodiscard]] const Bridge& bridge() const { return bridge_; }  // Type::bridge
  // Of the container; on a user-mode stack known when it is attached, and absent without IPv4.
  [[nodiscard]] std::optional<Ipv4> address() const;
  [[nodiscard]] std::optional<Ipv4> gateway() const;
  [[nodiscard]] int prefix() const;
  [[nodiscard]] std::string mac() const;
  // What host-gateway of --add-host stands for; nullopt: there is no such address.
  [[nodiscard]] std::string hostGateway() const;
  [[nodiscard]] DnsReach dnsReach() const;

 private:
  Connection() = default;

  Type type_ = Type::none;
  Bridge bridge_;
  std::optional<Lease> lease_;
  Mac mac_{};
  std::optional<UserStack::Found> program_;
  StackOptions stackOptions_;
  std::unique_ptr<UserStack> stack_;
};

}  // namespace img::network
