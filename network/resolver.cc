#include "network/resolver.h"

#include <fcntl.h>

#include <algorithm>

#include "base/fs.h"
#include "base/text.h"
#include "network/address.h"

namespace img::network {
namespace {

constexpr char kResolvConf[] = "/etc/resolv.conf";
constexpr char kUpstream[] = "/run/systemd/resolve/resolv.conf";

struct Lines {
  std::vector<std::string> servers;
  std::string search, options;  // the whole line; the last one counts (resolv.conf(5))
};

std::vector<std::string> words(std::string line) {
  std::replace(line.begin(), line.end(), '\t', ' ');
  std::vector<std::string> found = text::split(line, ' ');
  std::erase(found, "");
  return found;
}

Lines parse(const std::string& content) {
  Lines lines;
  for (const std::string& line : text::split(content, '\n')) {
    const std::vector<std::string> parts = words(line);
    if (parts.size() < 2) continue;
    if (parts[0] == "nameserver") lines.servers.push_back(parts[1]);
    if (parts[0] == "search" || parts[0] == "domain") {
      lines.search = "search" + line.substr(line.find(parts[0]) + parts[0].size());
    }
    if (parts[0] == "options") lines.options = line.substr(line.find("options"));
  }
  return lines;
}

bool isLoopback(const std::string& server) {
  const auto address = Ipv4::parse(server);
  return address ? address->value >> 24 == 127 : server == "::1";
}

bool isReachable(const std::string& server, const DnsReach& reach) {
  if (reach.sharesLoopback) return true;
  if (isLoopback(server)) return false;
  const bool isIpv6 = server.find(':') != std::string::npos;
  // "fe80::1%eth0": an interface that only the host has.
  return !isIpv6 || (reach.hasIpv6 && server.find('%') == std::string::npos);
}

std::vector<std::string> serversFor(const HostDns& host, const DnsReach& reach) {
  std::vector<std::string> servers = parse(host.resolvConf).servers;
  const bool isStub = !servers.empty() && std::all_of(servers.begin(), servers.end(), isLoopback);
  if (isStub && !reach.sharesLoopback && !host.upstream.empty()) {
    servers = parse(host.upstream).servers;
  }
  std::erase_if(servers, [&](const std::string& one) { return !isReachable(one, reach); });
  if (servers.empty() && !reach.forwarder.empty()) servers.push_back(reach.forwarder);
  return servers;
}

}  // namespace

HostDns HostDns::read() {
  return {fs::tryReadFile(AT_FDCWD, kResolvConf).value_or(""),
          fs::tryReadFile(AT_FDCWD, kUpstream).value_or("")};
}

ResolvConf resolvConf(const HostDns& host, const DnsOptions& asked, const DnsReach& reach) {
  const bool asksNothing = asked.servers.empty() && asked.search.empty() && asked.options.empty();
  if (reach.sharesLoopback && asksNothing) return {host.resolvConf, false};
  const Lines known = parse(host.resolvConf);
  const std::vector<std::string> servers =
      asked.servers.empty() ? serversFor(host, reach) : asked.servers;
  ResolvConf result;
  result.isWithoutServer = servers.empty() && !known.servers.empty();
  for (const std::string& server : servers) result.text += "nameserver " + server + "\n";
  // "." alone: no search at all, as podman and docker have it.
  const bool noSearch = asked.search == std::vector<std::string>{"."};
  if (asked.search.empty() && !known.search.empty()) result.text += known.search + "\n";
  if (!asked.search.empty() && !noSearch) {
    result.text += "search " + text::join(asked.search, " ") + "\n";
  }
  if (asked.options.empty() && !known.options.empty()) result.text += known.options + "\n";
  if (!asked.options.empty()) result.text += "options " + text::join(asked.options, " ") + "\n";
  return result;
}

}  // namespace img::network
