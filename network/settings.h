// Where the network of this machine is kept, and how its bridge is called. Everything is shared by
// all stores: the bridge is machine-wide.
#pragma once

#include <optional>
#include <string>

#include "base/fd.h"
#include "network/address.h"

namespace img::network {

struct Settings {
  std::string runRoot;           // --runroot
  std::string bridge;            // IMG_BRIDGE, img0
  std::optional<Subnet> subnet;  // IMG_BRIDGE_SUBNET; absent: the next free one

  // Throws Kind::usage for a name or subnet that cannot be.
  static Settings fromEnvironment(std::string runRoot);
  // RUNROOT/network/BRIDGE, made when missing: leases, the lock and the state of the bridge.
  [[nodiscard]] Fd folder() const;
  [[nodiscard]] std::string folderPath() const;
};

}  // namespace img::network
