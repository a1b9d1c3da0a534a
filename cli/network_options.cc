#include "cli/network_options.h"

#include <arpa/inet.h>

#include <algorithm>

#include "base/error.h"
#include "base/text.h"
#include "network/address.h"
#include "network/leases.h"
#include "network/namespace.h"

namespace img::cli {
namespace {

constexpr std::string_view kContainer = "container:";
constexpr std::string_view kPath = "ns:";

bool isAddress(const std::string& text) {
  unsigned char raw[16];
  return ::inet_pton(AF_INET, text.c_str(), raw) == 1 ||
         ::inet_pton(AF_INET6, text.c_str(), raw) == 1;
}

// What would end its line in /etc/hosts or /etc/resolv.conf, and begin another one.
void checkWords(const char* option, const std::vector<std::string>& words) {
  for (const std::string& word : words) {
    const bool isWord = !word.empty() && std::all_of(word.begin(), word.end(), [](char c) {
      return static_cast<unsigned char>(c) > ' ' && c != 127;
    });
    if (!isWord)
      throw Error::make(Kind::usage, "{}: {} is not one word", option, text::quote(word));
  }
}

void checkName(const char* option, const std::string& name) {
  if (name.empty() || network::isHostName(name)) return;
  throw Error::make(Kind::usage, "{}: {} is not a host name", option, text::quote(name));
}

void checkValues(const NetworkRequest& network) {
  checkName("--domainname", network.domainname);
  checkWords("--dns-search", network.dnsSearch);
  checkWords("--dns-option", network.dnsOptions);
  for (const std::string& server : network.dns) {
    if (!isAddress(server)) {
      throw Error::make(Kind::usage, "--dns: {} is not an address", text::quote(server));
    }
  }
  for (const std::string& alias : network.aliases) {
    if (!network::isHostName(alias)) {
      throw Error::make(Kind::usage, "--network-alias: {} is not a host name", text::quote(alias));
    }
  }
  if (!network.address.empty() && !network::Ipv4::parse(network.address)) {
    throw Error::make(Kind::usage, "--ip: {} is not an IPv4 address", text::quote(network.address));
  }
  if (!network.macAddress.empty() && !network::parseMac(network.macAddress)) {
    throw Error::make(Kind::usage, "--mac-address: {} is not the address of an interface",
                      text::quote(network.macAddress));
  }
}

[[noreturn]] void refuse(std::string_view option, const std::string& network) {
  throw Error::make(Kind::usage, "{} does not go with --network {}", option, text::escape(network));
}

void checkShared(const RunRequest& request) {
  const NetworkRequest& network = request.networkOptions;
  const std::pair<bool, const char*> foreign[] = {
      {!request.publish.empty(), "--publish"},
      {network.publishAll, "--publish-all"},
      {!request.hostname.empty(), "--hostname"},
      {!request.addHost.empty(), "--add-host"},
      {!network.dns.empty() || !network.dnsSearch.empty() || !network.dnsOptions.empty(), "--dns"},
      {network.noHosts, "--no-hosts"}};
  for (const auto& [isGiven, name] : foreign) {
    if (isGiven) refuse(name, request.network);
  }
}

}  // namespace

NetworkMode networkMode(std::string_view text) {
  if (text.empty() || text == "default") return NetworkMode::automatic;
  if (text == "bridge") return NetworkMode::bridge;
  if (text == "private") return NetworkMode::isolated;
  if (text == "none") return NetworkMode::none;
  if (text == "host") return NetworkMode::host;
  if (text.starts_with(kContainer) && text.size() > kContainer.size()) {
    return NetworkMode::container;
  }
  if (text.starts_with(kPath) && text.size() > kPath.size()) return NetworkMode::path;
  throw Error::make(Kind::usage, "unknown network {}", text::quote(text))
      .hint("use bridge, private, none, host, container:NAME or ns:PATH");
}

std::string networkTarget(std::string_view text) {
  return std::string{text.substr(text.find(':') + 1)};
}

void checkNetworkOptions(const RunRequest& request) {
  const NetworkMode mode = networkMode(request.network);
  const NetworkRequest& network = request.networkOptions;
  checkName("--hostname", request.hostname);
  checkValues(network);
  if (mode == NetworkMode::container) checkShared(request);
  const bool hasAddress = mode == NetworkMode::automatic || mode == NetworkMode::bridge ||
                          mode == NetworkMode::isolated;
  if (hasAddress) return;
  if (!network.address.empty()) refuse("--ip", request.network);
  if (!network.macAddress.empty()) refuse("--mac-address", request.network);
  if (!network.aliases.empty()) refuse("--network-alias", request.network);
}

std::string networkName(const store::ContainerConfig& config) {
  switch (networkMode(config.network)) {
    case NetworkMode::automatic:
    case NetworkMode::isolated: return network::ownsNamespace() ? "bridge" : "private";
    default: return config.network;
  }
}

}  // namespace img::cli
