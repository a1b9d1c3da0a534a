// Ports as the command line writes them (cli.md 10.4): -p, and the filters of `ps` that name ports.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "store/containers.h"

namespace img::cli {

// "[IP:][HOST]:CTR[/tcp|udp]", "CTR" alone, ranges of equal length; an IPv6 address in brackets.
// One record for each port. Throws Kind::usage, and Kind::unsupported for sctp.
std::vector<store::PortRecord> parsePublish(std::string_view spec);
// All of -p. Throws Kind::usage when two of them want the same port of the host.
std::vector<store::PortRecord> parsePublished(const std::vector<std::string>& specs);

// "80", "80/udp", "8000-8010/tcp".
struct PortRange {
  std::uint16_t first = 0, last = 0;
  std::string protocol;
  [[nodiscard]] bool contains(std::uint16_t port, std::string_view ofProtocol) const {
    return first <= port && port <= last && protocol == ofProtocol;
  }
};
// `what` names the option in the message. Throws Kind::usage.
PortRange parsePortRange(std::string_view text, std::string_view what);

}  // namespace img::cli
