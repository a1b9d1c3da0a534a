// /etc/resolv.conf of a container, from the host's and what was asked for.
#pragma once

#include <string>
#include <vector>

namespace img::network {

struct DnsOptions {
  std::vector<std::string> servers, search, options;  // --dns, --dns-search, --dns-option
};

// Which of the host's servers a container can reach.
struct DnsReach {
  bool sharesLoopback = false;  // the host's own network
  bool hasIpv6 = false;
  std::string forwarder;  // of the user-mode stack, for when none is left; empty: there is none
};

// What the host has to say, as text: resolv.conf, and that of systemd-resolved with the servers
// behind its own (systemd-resolved(8), "/etc/resolv.conf").
struct HostDns {
  std::string resolvConf, upstream;
  static HostDns read();
};

struct ResolvConf {
  std::string text;
  bool isWithoutServer =
      false;  // the host's servers are all out of reach, and nothing replaces them
};
ResolvConf resolvConf(const HostDns& host, const DnsOptions& asked, const DnsReach& reach);

}  // namespace img::network
