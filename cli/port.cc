// `img port`: where the ports of a container are published.
#include <algorithm>
#include <tuple>

#include "base/error.h"
#include "base/text.h"
#include "cli/container_commands.h"
#include "cli/container_ports.h"
#include "cli/options.h"
#include "cli/port_options.h"
#include "store/containers.h"

namespace img::cli {
namespace {

std::vector<store::PortRecord> publishedPorts(const store::ContainerRecord& record) {
  std::vector<store::PortRecord> ports;
  if (record.state.isAlive()) ports = record.state.ports;
  std::sort(ports.begin(), ports.end(), [](const auto& a, const auto& b) {
    return std::tie(a.containerPort, a.protocol, a.hostIp, a.hostPort) <
           std::tie(b.containerPort, b.protocol, b.hostIp, b.hostPort);
  });
  return ports;
}

int showPorts(Context& context, const std::vector<std::string>& args) {
  Options options{context, "CONTAINER [PORT[/PROTOCOL]]", "Show where ports are published"};
  options.positionals(1, 2);
  if (!options.parse(args)) return 0;
  const std::vector<std::string>& words = options.words();
  const store::ContainerRecord record = store::Containers{context.store()}.get(words.front());
  const std::vector<store::PortRecord> ports = publishedPorts(record);
  std::string text;
  if (words.size() == 1) {
    for (const store::PortRecord& port : ports) {
      text +=
          fmt::format("{}/{} -> {}\n", port.containerPort, port.protocol, hostAddressText(port));
    }
    context.print(text);
    return 0;
  }
  const PortRange wanted = parsePortRange(words[1], "port");
  for (const store::PortRecord& port : ports) {
    if (wanted.contains(port.containerPort, port.protocol)) text += hostAddressText(port) + "\n";
  }
  if (text.empty()) {
    throw Error::make(Kind::notFound, "container {} does not publish port {}/{}",
                      record.config.name, words[1].substr(0, words[1].find('/')), wanted.protocol);
  }
  context.print(text);
  return 0;
}

}  // namespace

void addPortCommand(CommandTable& table) {
  table.add(
      {"port,container port", Group::containers, "Show where ports are published", showPorts});
}

}  // namespace img::cli
