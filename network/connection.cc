#include "network/connection.h"

#include <utility>

#include "base/log.h"
#include "network/namespace.h"
#include "network/netlink.h"

namespace img::network {
namespace {

Error withoutBridge() {
  return Error{Kind::unsupported, "a bridge needs root"}
      .code("bridge")
      .why("the host's network belongs to another user namespace")
      .hint("--network private connects the container through pasta or slirp4netns");
}

UserStack::Found getStack() {
  if (auto found = UserStack::find()) return *found;
  throw Error{Kind::unsupported, "no program connects an ordinary user's containers"}
      .code("network")
      .why("neither pasta nor slirp4netns is installed")
      .hint("install the Debian package passt or slirp4netns")
      .hint("or choose --network none (loopback only) or --network host");
}

void warnWithoutNetwork(const Error& error) {
  static bool isSaid = false;  // a build opens several
  if (std::exchange(isSaid, true)) return;
  std::string reason = error.cause();
  if (!error.why().empty()) reason += ": " + error.why();
  log::warn(
      "no network but loopback, because the bridge cannot be made ({}); it needs CAP_NET_ADMIN and "
      "a kernel with bridge and veth; --network none or host asks for one without",
      reason);
}

}  // namespace

Connection Connection::open(const Settings& settings, const ConnectionRequest& request) {
  Connection connection;
  if (!ownsNamespace()) {
    if (request.wanted == Wanted::bridge) throw withoutBridge();
    connection.program_ = getStack();
    connection.stackOptions_.reachesHost = request.reachesHostLoopback;
    connection.type_ = Type::stack;
    return connection;
  }
  try {
    connection.bridge_ = ensureBridge(settings);
  } catch (const Error& error) {
    if (request.wanted != Wanted::automatic || !isBridgeImpossible(error)) throw;
    warnWithoutNetwork(error);
    return connection;
  }
  connection.type_ = Type::bridge;
  const Fd folder = settings.folder();
  const Leases leases{folder.get(), connection.bridge_.subnet};
  connection.lease_ = request.hasAddress
                          ? leases.takeAddress(request.tenant.address, request.tenant)
                          : leases.take(request.tenant);
  connection.mac_ = request.mac.value_or(macOf(connection.lease_->address()));
  return connection;
}

void Connection::attach(int netns) {
  if (type_ == Type::bridge) attachToBridge(bridge_, netns, lease_->address(), mac_);
  if (type_ == Type::stack) stack_ = std::make_unique<UserStack>(*program_, netns, stackOptions_);
}

void Connection::forget() {
  if (lease_) lease_->forget();
}

std::optional<Ipv4> Connection::address() const {
  if (lease_) return lease_->address();
  return stack_ ? stack_->address() : std::nullopt;
}

std::optional<Ipv4> Connection::gateway() const {
  if (type_ == Type::bridge) return bridge_.subnet.gateway();
  return stack_ ? stack_->gateway() : std::nullopt;
}

int Connection::prefix() const {
  if (type_ == Type::bridge) return bridge_.subnet.prefix;
  return stack_ ? stack_->prefix() : 0;
}

std::string Connection::mac() const {
  if (type_ == Type::bridge) return macText(mac_);
  return stack_ ? stack_->mac() : "";
}

std::string Connection::hostGateway() const {
  constexpr char kSlirpHost[] = "10.0.2.2";  // slirp4netns(1)
  if (type_ == Type::bridge) return bridge_.subnet.gateway().str();
  if (type_ == Type::none) return "127.0.0.1";
  if (program_->program == UserStack::Program::slirp4netns) return kSlirpHost;
  // pasta gives the container the host's own gateway, and takes what is sent there to the host.
  const auto uplink = findUplink(RouteSocket{});
  return uplink && uplink->gateway ? uplink->gateway->str() : "127.0.0.1";
}

DnsReach Connection::dnsReach() const {
  DnsReach reach;
  reach.hasIpv6 = type_ == Type::stack;
  if (type_ == Type::stack) reach.forwarder = UserStack::nameServer(program_->program);
  return reach;
}

}  // namespace img::network
