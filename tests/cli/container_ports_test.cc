#include "cli/container_ports.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "cli/port_options.h"

namespace img::cli {
namespace {

using Ports = std::vector<store::PortRecord>;

store::ContainerRecord running(std::vector<std::string> exposed, Ports bound) {
  store::ContainerRecord record;
  record.config.network = "bridge";
  record.config.exposedPorts = std::move(exposed);
  record.state.status = store::ContainerState::Status::running;
  record.state.ports = std::move(bound);
  return record;
}

// As they are bound for a port on all addresses.
Ports both(std::uint16_t host, std::uint16_t container) {
  return {{"0.0.0.0", host, container, "tcp"}, {"::", host, container, "tcp"}};
}

Ports operator+(Ports one, const Ports& other) {
  one.insert(one.end(), other.begin(), other.end());
  return one;
}

struct Case {
  std::string_view name;
  std::vector<std::string> exposed;
  Ports bound;
  std::string_view text;
};
void PrintTo(const Case& c, std::ostream* out) {
  *out << c.text;
}
const Case kCases[] = {
    {"Nothing", {}, {}, ""},
    {"ExposedOnly", {"80/tcp"}, {}, "80/tcp"},
    {"TwoExposed", {"443/tcp", "80/tcp"}, {}, "80/tcp, 443/tcp"},
    {"ExposedInARow", {"80/tcp", "81/tcp", "82/tcp"}, {}, "80-82/tcp"},
    {"OfTwoProtocols", {"53/tcp", "53/udp"}, {}, "53/tcp, 53/udp"},
    {"OtherNumberOutside", {"80/tcp"}, both(4000, 80), "0.0.0.0:4000->80/tcp, [::]:4000->80/tcp"},
    {"SameNumber", {}, {{"0.0.0.0", 80, 80, "tcp"}}, "0.0.0.0:80->80/tcp"},
    {"SameNumbersInARow",
     {},
     {{"0.0.0.0", 8001, 8001, "tcp"},
      {"0.0.0.0", 8000, 8000, "tcp"},
      {"0.0.0.0", 8002, 8002, "tcp"}},
     "0.0.0.0:8000-8002->8000-8002/tcp"},
    {"RowsOfBothFamilies",
     {},
     both(80, 80) + both(81, 81),
     "0.0.0.0:80-81->80-81/tcp, [::]:80-81->80-81/tcp"},
    {"OtherNumbersInARowAreNotJoined",
     {},
     {{"0.0.0.0", 8000, 80, "tcp"}, {"0.0.0.0", 8001, 81, "tcp"}},
     "0.0.0.0:8000->80/tcp, 0.0.0.0:8001->81/tcp"},
    {"AGapEndsARow",
     {},
     {{"0.0.0.0", 80, 80, "tcp"}, {"0.0.0.0", 82, 82, "tcp"}, {"0.0.0.0", 83, 83, "tcp"}},
     "0.0.0.0:80->80/tcp, 0.0.0.0:82-83->82-83/tcp"},
    {"OtherNumbersComeLast",
     {"443/tcp", "9/udp"},
     Ports{{"127.0.0.1", 4000, 80, "tcp"}} + Ports{{"127.0.0.1", 90, 90, "tcp"}},
     "9/udp, 127.0.0.1:90->90/tcp, 443/tcp, 127.0.0.1:4000->80/tcp"},
};
class PortsText : public testing::TestWithParam<Case> {};
TEST_P(PortsText, IsDockers) {
  EXPECT_EQ(portsText(running(GetParam().exposed, GetParam().bound)), GetParam().text);
}
INSTANTIATE_TEST_SUITE_P(Forms, PortsText, testing::ValuesIn(kCases),
                         [](const auto& test) { return std::string{test.param.name}; });

TEST(PortsText, IsEmptyForWhatDoesNotRunOrHasNoNetworkOfItsOwn) {
  store::ContainerRecord record = running({"80/tcp"}, {});
  record.state.status = store::ContainerState::Status::exited;
  EXPECT_EQ(portsText(record), "");
  for (const char* network : {"none", "host", "container:abc"}) {
    record = running({"80/tcp"}, {});
    record.config.network = network;
    EXPECT_EQ(portsText(record), "") << network;
  }
}

std::string requestsText(const store::ContainerConfig& config) {
  std::string text;
  for (const network::PortRequest& port : portRequests(config)) {
    text += fmt::format("{}:{}:{}/{} ", port.hostIp, port.hostPort, port.containerPort,
                        network::protocolName(port.protocol));
  }
  return text;
}

TEST(PortRequests, AreWhatIsPublished) {
  store::ContainerConfig config;
  config.network = "private";
  config.exposedPorts = {"80/tcp", "53/udp"};
  config.networkOptions.ports = parsePublished({"127.0.0.1:4000:80"});
  EXPECT_EQ(requestsText(config), "127.0.0.1:4000:80/tcp ");
  config.networkOptions.publishAll = true;
  EXPECT_EQ(requestsText(config), "127.0.0.1:4000:80/tcp :0:53/udp ");
  config.network = "host";
  EXPECT_EQ(requestsText(config), "");
}

TEST(PortRequests, LeaveSctpAside) {
  store::ContainerConfig config;
  config.network = "bridge";
  config.exposedPorts = {"9/sctp", "80/tcp"};
  config.networkOptions.publishAll = true;
  EXPECT_EQ(requestsText(config), ":0:80/tcp ");
}

TEST(PortFacts, HaveDockersForm) {
  const store::ContainerRecord record = running({"80/tcp", "443/tcp"}, both(4000, 80));
  EXPECT_EQ(portFacts(record), Json::parse(R"({"80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "4000"},
      {"HostIp": "::", "HostPort": "4000"}], "443/tcp": null})"));
  store::NetworkRecord network;
  network.ports = parsePublished({"4000:80", "[::1]::80", "53:53/udp"});
  EXPECT_EQ(bindingFacts(network), Json::parse(R"({"80/tcp": [{"HostIp": "", "HostPort": "4000"},
      {"HostIp": "::1", "HostPort": ""}], "53/udp": [{"HostIp": "", "HostPort": "53"}]})"));
}

}  // namespace
}  // namespace img::cli
