// The ports of a container: which sockets its publishing needs, and how they are shown (cli.md 6
// and 11).
#pragma once

#include <string>
#include <vector>

#include "base/json.h"
#include "network/port_relay.h"
#include "network/ports.h"
#include "store/containers.h"
#include "store/layout.h"

namespace img::cli {

// Whether there is something to publish into: a network that is neither the host's nor another
// container's nor none at all.
bool canPublish(const store::ContainerConfig& config);
// One line when -p or -P cannot have an effect.
void warnOfIgnoredPorts(const store::ContainerConfig& config);
// -p, and with -P every exposed port that -p does not name. Nothing where canPublish() is false.
std::vector<network::PortRequest> portRequests(const store::ContainerConfig& config);

// The published ports of one container while its keeper runs: bound before anything starts, served
// from the moment the container has its network. Every start binds them anew.
class PublishedPorts {
 public:
  // Throws for what cannot be bound; "port-in-use" names the container of ours that has the port.
  PublishedPorts(const store::Layout& layout, const store::ContainerConfig& config);

  [[nodiscard]] bool isNeeded() const { return !bound_.empty(); }
  // `address`: the container's; empty when it is not known. From here on another process has the
  // sockets.
  void serve(pid_t container, int netns, const std::string& address);
  [[nodiscard]] const std::vector<store::PortRecord>& records() const { return records_; }
  // Another process carries them on, made by fork(2).
  void forget() { bound_.clear(); }
  void stop();  // they are free when this returns

 private:
  std::vector<network::BoundPort> bound_;
  std::vector<store::PortRecord> records_;
  network::PortRelay relay_;
};

// PORTS of `ps`: "80/tcp, 0.0.0.0:8000-8002->8000-8002/tcp, 0.0.0.0:4000->80/tcp". Empty for one
// that does not run.
std::string portsText(const store::ContainerRecord& record);
// HostConfig.PortBindings and NetworkSettings.Ports of `inspect`.
Json bindingFacts(const store::NetworkRecord& network);
Json portFacts(const store::ContainerRecord& record);
// "0.0.0.0:4000", "[::]:4000".
std::string hostAddressText(const store::PortRecord& port);

}  // namespace img::cli
