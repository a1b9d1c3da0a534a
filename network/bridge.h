// The bridge of this machine: made when the first container needs it and kept, as the host's other
// bridges are. Every later start only looks whether it is still as it was left.
#pragma once

#include <string>

#include "base/error.h"
#include "base/fd.h"
#include "network/address.h"
#include "network/settings.h"

namespace img::network {

struct Bridge {
  std::string name;
  int index = 0;
  int mtu = 1500;
  Subnet subnet;
};

// Makes what is missing: interface, address, forwarding, address translation. Without nft there is
// a bridge whose containers do not reach the outside, and one warning. Throws when there can be no
// bridge (code "bridge").
Bridge ensureBridge(const Settings& settings);

// Whether `error` says that this process may not make one, or that the kernel cannot: nothing that
// waiting or other settings would cure.
bool isBridgeImpossible(const Error& error);

// The interface, its rules and its folder. For whoever wants the machine as it was before.
void removeBridge(const Settings& settings);

// A pair of interfaces between the bridge and a namespace, with address and default route inside.
// It goes when the namespace goes.
void attachToBridge(const Bridge& bridge, int netns, Ipv4 address, const Mac& mac);

}  // namespace img::network
