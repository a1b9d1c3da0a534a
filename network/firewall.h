// What the bridge needs of the host's packet filter: a table of our own, loaded once by nft(8) when
// the bridge is made. Nothing in it belongs to a single container, so nothing is left over.
#pragma once

#include <optional>
#include <string>

#include "network/address.h"

namespace img::network {

// A whole nft script that replaces the table of the bridge and touches no other.
std::string firewallScript(const std::string& bridge, const Subnet& subnet);
std::string removalScript(const std::string& bridge);

// The path of nft, also where PATH lacks the folders of an administrator.
std::optional<std::string> findNft();
// Throws with nft's own words.
void loadFirewall(const std::string& nft, const std::string& script);

// A chain of the host's that drops forwarded packets unless one of its rules accepts them, as
// docker makes one, in a table that does not mention the bridge: "ip filter FORWARD". Chains of
// iptables-legacy are not seen.
std::optional<std::string> findDroppingChain(const std::string& nft, const std::string& bridge);

// Whether the table of the bridge is still there: `nft flush ruleset` takes it away, and so does
// every reload of a host's own rules.
bool hasFirewall(const std::string& bridge);

}  // namespace img::network
