#include "cli/container_ports.h"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <tuple>
#include <utility>

#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "cli/port_options.h"

namespace img::cli {
namespace {

std::string portText(const store::PortRecord& port) {
  return fmt::format("{}/{}", port.containerPort, port.protocol);
}

bool isNamed(const std::vector<store::PortRecord>& ports, const std::string& exposed) {
  return std::any_of(ports.begin(), ports.end(),
                     [&](const store::PortRecord& port) { return portText(port) == exposed; });
}

network::PortRequest toRequest(const store::PortRecord& port) {
  return {port.hostIp, port.hostPort, port.containerPort,
          port.protocol == "udp" ? network::Protocol::udp : network::Protocol::tcp};
}

// "8000" or "8000-8002", "0.0.0.0:8000-8002->8000-8002/tcp" with an address.
std::string groupText(const store::PortRecord& first, std::uint16_t last) {
  std::string numbers = std::to_string(first.containerPort);
  if (last != first.containerPort) numbers += "-" + std::to_string(last);
  if (first.hostIp.empty()) return numbers + "/" + first.protocol;
  const bool isIpv6 = first.hostIp.find(':') != std::string::npos;
  return fmt::format("{}:{}->{}/{}", isIpv6 ? "[" + first.hostIp + "]" : first.hostIp, numbers,
                     numbers, first.protocol);
}

// Published ones as they are bound, and those only exposed without an address, sorted.
std::vector<store::PortRecord> shownPorts(const store::ContainerRecord& record) {
  if (!record.state.isAlive() || !canPublish(record.config)) return {};
  std::vector<store::PortRecord> ports = record.state.ports;
  for (const std::string& exposed : record.config.exposedPorts) {
    if (isNamed(record.state.ports, exposed)) continue;
    const PortRange range = parsePortRange(exposed, "EXPOSE");
    ports.push_back({"", 0, range.first, range.protocol});
  }
  std::sort(ports.begin(), ports.end(), [](const auto& a, const auto& b) {
    return std::tie(a.containerPort, a.hostIp, a.hostPort, a.protocol) <
           std::tie(b.containerPort, b.hostIp, b.hostPort, b.protocol);
  });
  return ports;
}

Json bindingJson(const store::PortRecord& port) {
  return {{"HostIp", port.hostIp},
          {"HostPort", port.hostPort == 0 ? "" : std::to_string(port.hostPort)}};
}

std::vector<store::PortRecord> portRecords(const std::vector<network::BoundPort>& bound) {
  std::vector<store::PortRecord> records;
  records.reserve(bound.size());
  for (const network::BoundPort& port : bound) {
    records.push_back({port.hostIp, port.hostPort, port.containerPort,
                       std::string{network::protocolName(port.protocol)}});
  }
  return records;
}

// Adds which of our containers has the port.
void nameHolder(Error& error, const store::Containers& containers,
                const std::vector<network::PortRequest>& requests) {
  const auto isWanted = [&](const store::PortRecord& held) {
    return std::any_of(requests.begin(), requests.end(), [&](const auto& wanted) {
      return wanted.hostPort == held.hostPort &&
             network::protocolName(wanted.protocol) == held.protocol;
    });
  };
  for (const store::ContainerRecord& record : containers.list()) {
    const std::vector<store::PortRecord>& held = record.state.ports;
    if (!record.state.isAlive()) continue;
    const auto port = std::find_if(held.begin(), held.end(), isWanted);
    if (port == held.end()) continue;
    error.hint(fmt::format("container {} publishes {}/{}", record.config.name, port->hostPort,
                           port->protocol));
    return;
  }
}

}  // namespace

bool canPublish(const store::ContainerConfig& config) {
  return config.network != "host" && config.network != "none" &&
         !config.network.starts_with("container:");
}

void warnOfIgnoredPorts(const store::ContainerConfig& config) {
  const store::NetworkRecord& network = config.networkOptions;
  if (canPublish(config) || (network.ports.empty() && !network.publishAll)) return;
  log::warn("published ports are ignored with --network {}", config.network);
}

std::vector<network::PortRequest> portRequests(const store::ContainerConfig& config) {
  std::vector<network::PortRequest> requests;
  if (!canPublish(config)) return requests;
  const store::NetworkRecord& network = config.networkOptions;
  for (const store::PortRecord& port : network.ports) requests.push_back(toRequest(port));
  if (!network.publishAll) return requests;
  for (const std::string& exposed : config.exposedPorts) {
    if (isNamed(network.ports, exposed)) continue;
    const PortRange range = parsePortRange(exposed, "EXPOSE");
    if (range.protocol == "sctp") {
      log::warn("port {} is not published: sctp cannot be", exposed);
      continue;
    }
    requests.push_back(toRequest({"", 0, range.first, range.protocol}));
  }
  return requests;
}

PublishedPorts::PublishedPorts(const store::Layout& layout, const store::ContainerConfig& config) {
  const std::vector<network::PortRequest> requests = portRequests(config);
  if (requests.empty()) return;
  try {
    bound_ = network::bindPorts(requests);
  } catch (Error& error) {
    if (error.code() == "port-in-use") nameHolder(error, store::Containers{layout}, requests);
    throw;
  }
  records_ = portRecords(bound_);
}

void PublishedPorts::serve(pid_t container, int netns, const std::string& address) {
  if (bound_.empty()) return;
  relay_ = network::PortRelay::start(std::exchange(bound_, {}), {netns, container, address});
}

void PublishedPorts::stop() {
  bound_.clear();
  relay_ = {};
}

// As docker joins them: consecutive ones of one address and protocol, where inside and outside are
// the same number; a group that is over is shown before those still open, and what has another
// number outside comes last.
std::string portsText(const store::ContainerRecord& record) {
  struct Group {
    store::PortRecord first;
    std::uint16_t last = 0;
  };
  std::vector<Group> open;
  std::vector<std::string> texts;
  std::vector<std::string> mapped;
  for (const store::PortRecord& port : shownPorts(record)) {
    if (!port.hostIp.empty() && port.hostPort != port.containerPort) {
      mapped.push_back(hostAddressText(port) + "->" + portText(port));
      continue;
    }
    const auto group = std::find_if(open.begin(), open.end(), [&](const Group& known) {
      return known.first.hostIp == port.hostIp && known.first.protocol == port.protocol;
    });
    if (group == open.end()) {
      open.push_back({port, port.containerPort});
    } else if (port.containerPort == group->last + 1) {
      group->last = port.containerPort;
    } else {
      texts.push_back(groupText(group->first, group->last));
      *group = {port, port.containerPort};
    }
  }
  for (const Group& group : open) texts.push_back(groupText(group.first, group.last));
  texts.insert(texts.end(), mapped.begin(), mapped.end());
  return text::join(texts, ", ");
}

Json bindingFacts(const store::NetworkRecord& network) {
  Json facts = Json::object();
  for (const store::PortRecord& port : network.ports) {
    Json& bindings = facts[portText(port)];
    if (bindings.is_null()) bindings = Json::array();
    bindings.push_back(bindingJson(port));
  }
  return facts;
}

Json portFacts(const store::ContainerRecord& record) {
  Json facts = Json::object();
  for (const store::PortRecord& port : shownPorts(record)) {
    Json& bindings = facts[portText(port)];
    if (port.hostIp.empty()) continue;  // exposed only: null
    if (bindings.is_null()) bindings = Json::array();
    bindings.push_back(bindingJson(port));
  }
  return facts;
}

std::string hostAddressText(const store::PortRecord& port) {
  const bool isIpv6 = port.hostIp.find(':') != std::string::npos;
  return fmt::format("{}:{}", isIpv6 ? "[" + port.hostIp + "]" : port.hostIp, port.hostPort);
}

}  // namespace img::cli
