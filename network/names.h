// /etc/hosts of a container, and how it follows the containers that come and go on its bridge.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/fd.h"
#include "network/address.h"
#include "network/leases.h"

namespace img::network {

struct HostsOptions {
  std::string hostname, domainname;
  std::optional<Ipv4> address;  // the container's own; without: its name is 127.0.0.1
  std::vector<std::pair<std::string, std::string>> extra;  // name, address
};

// localhost, the container itself and what --add-host says.
std::string hostsText(const HostsOptions& options);

// The host's own, for a container in the host's network.
std::string hostsText(std::string host,
                      const std::vector<std::pair<std::string, std::string>>& extra);

// The part about the bridge, between two marks. Empty without tenants.
std::string neighboursText(const std::vector<Tenant>& tenants);
// `hosts` with that part replaced, or appended when `hosts` has never had one. nullopt: somebody
// took the marks out, so the file is theirs.
std::optional<std::string> replaceNeighbours(const std::string& hosts,
                                             const std::string& neighbours);

// A hosts file that follows the leases: rewritten in place through its descriptor a moment after
// the last change. Whoever waits for other things polls fd() and calls update() when it is
// readable.
class LiveHosts {
 public:
  // Watches before it looks for the first time, so no change is missed. `folder` is that of the
  // leases; `file` a regular file, open for reading and writing.
  LiveHosts(Fd folder, const Subnet& subnet, Fd file, const std::string& text);
  [[nodiscard]] int fd() const { return poll_.get(); }
  void update();

 private:
  void rewrite();

  Fd folder_;
  Subnet subnet_;
  Fd file_;
  Fd changes_, timer_, poll_;
};

}  // namespace img::network
