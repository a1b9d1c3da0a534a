// The ports of a container: which sockets its publishing needs, and how they are shown (cli.md 6
// and 11).
#pragma once

#include <string>
#include <vector>

#include "base/error.h"
#include "base/json.h"
#include "network/ports.h"
#include "store/containers.h"

namespace img::cli {

// Whether there is something to publish into: a network that is neither the host's nor another
// container's nor none at all.
bool canPublish(const store::ContainerConfig& config);
// -p, and with -P every exposed port that -p does not name. Nothing where canPublish() is false.
std::vector<network::PortRequest> portRequests(const store::ContainerConfig& config);
std::vector<store::PortRecord> portRecords(const std::vector<network::BoundPort>& bound);
// Adds to a "port-in-use" which of our containers has the port.
void nameHolder(Error& error, const store::Containers& containers,
                const std::vector<network::PortRequest>& requests);

// PORTS of `ps`: "80/tcp, 0.0.0.0:8000-8002->8000-8002/tcp, 0.0.0.0:4000->80/tcp". Empty for one
// that does not run.
std::string portsText(const store::ContainerRecord& record);
// HostConfig.PortBindings and NetworkSettings.Ports of `inspect`.
Json bindingFacts(const store::NetworkRecord& network);
Json portFacts(const store::ContainerRecord& record);
// "0.0.0.0:4000", "[::]:4000".
std::string hostAddressText(const store::PortRecord& port);

}  // namespace img::cli
