#include "network/bridge.h"

#include <fcntl.h>
#include <net/if.h>

#include <algorithm>
#include <map>
#include <utility>

#include "base/fs.h"
#include "base/lock.h"
#include "base/log.h"
#include "base/sys.h"
#include "base/text.h"
#include "network/firewall.h"
#include "network/namespace.h"
#include "network/netlink.h"

namespace img::network {
namespace {

constexpr char kLockFile[] = "lock";
constexpr char kStateFile[] = "state";
constexpr int kUsualMtu = 1500;

// How the bridge was left. The interface's number and the namespace tell it from a later one of the
// same name.
struct BridgeState {
  unsigned long long netns = 0;
  int index = 0;
  int mtu = kUsualMtu;
  std::string subnet;
  std::string nat;  // yes, missing (no nft), failed
};

unsigned long long namespaceNumber() {
  return sys::fstat(ownNamespace().get()).st_ino;
}

std::string stateText(const BridgeState& state) {
  return fmt::format("netns={} index={} mtu={} subnet={} nat={}\n", state.netns, state.index,
                     state.mtu, state.subnet, state.nat);
}

std::optional<BridgeState> readState(int folder) {
  const auto content = fs::tryReadFile(folder, kStateFile);
  if (!content) return std::nullopt;
  std::map<std::string, std::string> values;
  for (const std::string& word : text::split(text::trim(*content), ' ')) {
    const size_t equals = word.find('=');
    if (equals != std::string::npos) values[word.substr(0, equals)] = word.substr(equals + 1);
  }
  const auto number = [&](const char* key) { return text::parseUnsigned(values[key]).value_or(0); };
  return BridgeState{number("netns"), static_cast<int>(number("index")),
                     static_cast<int>(number("mtu")), values["subnet"], values["nat"]};
}

void warnThatOutsideIsOutOfReach(const std::string& reason) {
  static bool isSaid = false;  // a build opens several networks
  if (!std::exchange(isSaid, true)) log::warn("containers do not reach the outside: {}", reason);
}

void warnWithoutNft() {
  warnThatOutsideIsOutOfReach("the program nft is missing (Debian package nftables)");
}

// Never without our rules: they are what keeps strangers from using the host as a way in.
void turnForwardingOn() {
  const auto now = fs::tryReadFile(AT_FDCWD, "/proc/sys/net/ipv4/ip_forward");
  if (now && now->starts_with('1')) return;
  if (trySetSysctl("ipv4/ip_forward", "1")) return;
  warnThatOutsideIsOutOfReach("net.ipv4.ip_forward is 0 and cannot be set here");
}

// nullopt: something has to be made.
std::optional<Bridge> findIntact(const Settings& settings, int folder) {
  const auto state = readState(folder);
  if (!state || state->netns != namespaceNumber()) return std::nullopt;
  const auto subnet = Subnet::parse(state->subnet);
  if (!subnet || (settings.subnet && *settings.subnet != *subnet)) return std::nullopt;
  if (static_cast<int>(::if_nametoindex(settings.bridge.c_str())) != state->index) {
    return std::nullopt;
  }
  if (state->nat == "yes" && !hasFirewall(settings.bridge)) return std::nullopt;
  // What it lacked may be there now.
  if (state->nat == "failed" || (state->nat == "missing" && findNft())) return std::nullopt;
  if (state->nat == "yes")
    turnForwardingOn();  // somebody may have turned it off
  else
    warnWithoutNft();
  return Bridge{settings.bridge, state->index, state->mtu, *subnet};
}

Subnet freeSubnet(const RouteSocket& socket, int ownIndex, const std::optional<BridgeState>& was) {
  const std::vector<Subnet> used = usedSubnets(socket, ownIndex);
  // The one it had, when that is still free: addresses that people wrote down stay right.
  const auto before = was ? Subnet::parse(was->subnet) : std::nullopt;
  const auto isTaken = [&](const Subnet& other) { return other.overlaps(*before); };
  if (before && std::none_of(used.begin(), used.end(), isTaken)) return *before;
  if (const auto subnet = chooseSubnet(used)) return *subnet;
  throw Error{Kind::failed, "no subnet is free for the bridge"}
      .why("addresses or routes of this machine take all of 10.89.0.0 to 10.255.0.0")
      .hint("choose one with IMG_BRIDGE_SUBNET, as 192.168.200.0/24");
}

// An interface of ours that is there already tells its subnet.
std::optional<Subnet> subnetOfInterface(const RouteSocket& socket, int index) {
  const auto address = findAddress(socket, index);
  if (!address || address->prefix > 29) return std::nullopt;
  const Subnet subnet = Subnet::of(address->address, address->prefix);
  if (subnet.gateway() != address->address) return std::nullopt;
  return subnet;
}

Link makeInterface(const RouteSocket& socket, const std::string& name, Ipv4 gateway) {
  const auto uplink = findUplink(socket);
  const int mtu = uplink && uplink->mtu > 0 ? std::min(uplink->mtu, kUsualMtu) : kUsualMtu;
  makeBridge(socket, name, macOf(gateway), mtu);
  const auto link = findLink(socket, name);
  if (!link) throw Error::make(Kind::failed, "the bridge {} went away", name);
  return *link;
}

// A kernel without veth must be found now, when a container can still go without a network.
void probeVeth(const RouteSocket& socket, const Link& bridge) {
  const Fd here = makeNamespace();
  const std::string name = "veth" + fs::randomHex(8);
  makeVeth(socket, {name, bridge.index, here.get(), macOf(Ipv4{}), bridge.mtu});
  if (const auto link = findLink(socket, name)) removeLink(socket, link->index);
}

void warnOfDroppingChain(const std::string& nft, const std::string& bridge) {
  const auto chain = findDroppingChain(nft, bridge);
  if (!chain) return;
  log::warn(
      "containers may not reach the outside: the host's chain {0} drops what it does not know; let "
      "it accept what comes from {1}, and answers to {1} (iptables -I FORWARD -i {1} -j ACCEPT; "
      "iptables -I FORWARD -o {1} -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT)",
      *chain, bridge);
}

// What BridgeState::nat says.
std::string connectToOutside(const std::string& bridge, const Subnet& subnet) {
  const auto nft = findNft();
  if (!nft) {
    warnWithoutNft();
    return "missing";
  }
  try {
    loadFirewall(*nft, firewallScript(bridge, subnet));
  } catch (const Error& error) {
    warnThatOutsideIsOutOfReach(fmt::format("{} ({})", error.cause(), error.why()));
    return "failed";
  }
  turnForwardingOn();
  warnOfDroppingChain(*nft, bridge);
  return "yes";
}

// A chosen subnet need not be one that nobody routes to (a VPN's 10.0.0.0/8), but the host must not
// lose a network that it is in itself.
void checkChosenSubnet(const RouteSocket& socket, const Subnet& chosen, int ownIndex) {
  for (const Subnet& used : interfaceSubnets(socket, ownIndex)) {
    if (!used.overlaps(chosen)) continue;
    throw Error::make(Kind::usage, "IMG_BRIDGE_SUBNET: {} overlaps {}, which another interface has",
                      chosen.str(), used.str());
  }
}

Bridge makeWhatIsMissing(const Settings& settings, int folder) {
  const RouteSocket socket;
  const auto was = readState(folder);
  std::optional<Link> link = findLink(socket, settings.bridge);
  if (link && !link->isBridge) {
    throw Error::make(Kind::exists, "the interface {} is there and is not a bridge",
                      settings.bridge)
        .hint("choose another name with IMG_BRIDGE");
  }
  const auto present = link ? subnetOfInterface(socket, link->index) : std::nullopt;
  if (settings.subnet) checkChosenSubnet(socket, *settings.subnet, link ? link->index : 0);
  const Subnet subnet = settings.subnet ? *settings.subnet
                        : present       ? *present
                                        : freeSubnet(socket, link ? link->index : 0, was);
  if (!link) {
    link = makeInterface(socket, settings.bridge, subnet.gateway());
    probeVeth(socket, *link);
  }
  if (present != subnet) addAddress(socket, link->index, subnet.gateway(), subnet);
  // Advertisements of a container must not configure the host (CVE-2020-13401).
  trySetSysctl(("ipv6/conf/" + settings.bridge + "/disable_ipv6").c_str(), "1");
  trySetSysctl(("ipv6/conf/" + settings.bridge + "/accept_ra").c_str(), "0");
  if (!link->isUp) setLinkUp(socket, link->index);
  const BridgeState state{namespaceNumber(), link->index, link->mtu, subnet.str(),
                          connectToOutside(settings.bridge, subnet)};
  fs::replaceFile(folder, kStateFile, stateText(state), 0600, fs::Sync::none);
  return {settings.bridge, link->index, link->mtu, subnet};
}

}  // namespace

Bridge ensureBridge(const Settings& settings) try {
  const Fd folder = settings.folder();
  if (auto bridge = findIntact(settings, folder.get())) return *bridge;
  const FileLock lock = FileLock::acquire(folder.get(), kLockFile, FileLock::Mode::exclusive);
  // Another process may have made it meanwhile.
  if (auto bridge = findIntact(settings, folder.get())) return *bridge;
  return makeWhatIsMissing(settings, folder.get());
} catch (Error& error) {
  error.code("bridge").during("preparing the bridge {}", settings.bridge);
  throw;
}

bool isBridgeImpossible(const Error& error) {
  const int number = error.errnum();
  return number == EPERM || number == EACCES || number == EOPNOTSUPP || number == EROFS;
}

void removeBridge(const Settings& settings) {
  const Fd folder = settings.folder();
  const FileLock lock = FileLock::acquire(folder.get(), kLockFile, FileLock::Mode::exclusive);
  const RouteSocket socket;
  if (const auto link = findLink(socket, settings.bridge)) removeLink(socket, link->index);
  if (const auto nft = findNft()) loadFirewall(*nft, removalScript(settings.bridge));
  sys::tryUnlinkat(folder.get(), kStateFile, 0);
}

void attachToBridge(const Bridge& bridge, int netns, Ipv4 address, const Mac& mac) {
  const RouteSocket here;
  std::optional<RouteSocket> inside;
  inNamespace(netns, [&] {
    inside.emplace();
    // Before the interface is there, which then never has any IPv6: there is no IPv6 on the bridge,
    // and a neighbour's router advertisements must not make some (CVE-2020-10749).
    trySetSysctl("ipv6/conf/default/disable_ipv6", "1");
  });
  makeVeth(here, {"veth" + fs::randomHex(8), bridge.index, netns, mac, bridge.mtu});
  const auto link = findLink(*inside, kInsideName);
  if (!link) throw Error{Kind::failed, "the container's interface went away"};
  addAddress(*inside, link->index, address, bridge.subnet);
  setLinkUp(*inside, link->index);
  addDefaultRoute(*inside, link->index, bridge.subnet.gateway());
}

}  // namespace img::network
