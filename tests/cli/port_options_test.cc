#include "cli/port_options.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "base/text.h"

namespace img::cli {
namespace {

std::string textOf(const std::vector<store::PortRecord>& ports) {
  std::vector<std::string> texts;
  for (const store::PortRecord& port : ports) {
    texts.push_back(
        fmt::format("{}|{}|{}/{}", port.hostIp, port.hostPort, port.containerPort, port.protocol));
  }
  return text::join(texts, " ");
}

struct Good {
  std::string_view name, spec, ports;
};
void PrintTo(const Good& c, std::ostream* out) {
  *out << c.spec;
}
constexpr Good kGood[] = {
    {"HostAndContainer", "4000:80", "|4000|80/tcp"},
    {"ContainerAlone", "80", "|0|80/tcp"},
    {"NoHostPort", ":80", "|0|80/tcp"},
    {"HostPortZero", "0:80", "|0|80/tcp"},
    {"Udp", "53:53/udp", "|53|53/udp"},
    {"AnyCase", "53:53/UDP", "|53|53/udp"},
    {"Address", "127.0.0.1:4000:80", "127.0.0.1|4000|80/tcp"},
    {"AddressAndAnyPort", "127.0.0.1::80", "127.0.0.1|0|80/tcp"},
    {"EmptyAddress", ":4000:80", "|4000|80/tcp"},
    {"EverythingEmpty", "::80", "|0|80/tcp"},
    {"AllOfIpv4", "0.0.0.0:4000:80", "0.0.0.0|4000|80/tcp"},
    {"Ipv6", "[::1]:4000:80", "::1|4000|80/tcp"},
    {"AllOfIpv6", "[::]:4000:80/udp", "::|4000|80/udp"},
    {"Ipv6InNormalForm", "[0:0::0:1]:4000:80", "::1|4000|80/tcp"},
    {"Ipv6WithScope", "[fe80::1%eth0]:4000:80", "fe80::1%eth0|4000|80/tcp"},
    {"Ipv6AndAnyPort", "[::1]::80", "::1|0|80/tcp"},
    {"Range", "8000-8002:80-82", "|8000|80/tcp |8001|81/tcp |8002|82/tcp"},
    {"RangeToAnyPorts", "80-81", "|0|80/tcp |0|81/tcp"},
    {"RangeOfOne", "8000-8000:80", "|8000|80/tcp"},
    {"LastPort", "65535:65535", "|65535|65535/tcp"},
};
class Publish : public testing::TestWithParam<Good> {};
TEST_P(Publish, IsTakenApart) {
  EXPECT_EQ(textOf(parsePublish(GetParam().spec)), GetParam().ports);
}
INSTANTIATE_TEST_SUITE_P(Forms, Publish, testing::ValuesIn(kGood),
                         [](const auto& test) { return std::string{test.param.name}; });

struct Bad {
  std::string_view name, spec, why;
};
void PrintTo(const Bad& c, std::ostream* out) {
  *out << c.spec;
}
constexpr Bad kBad[] = {
    {"Empty", "", "\"\" is not a port (1-65535)"},
    {"Word", "http", "\"http\" is not a port (1-65535)"},
    {"ContainerPortZero", "80:0", "\"0\" is not a port (1-65535)"},
    {"TooLarge", "80:65536", "\"65536\" is not a port (1-65535)"},
    {"HostTooLarge", "70000:80", "\"70000\" is not a port (1-65535)"},
    {"Negative", "-1:80", "\"-1\" is not a port (1-65535)"},
    {"BackwardRange", "82-80:80-82", "\"82-80\" is not a port (1-65535)"},
    {"OpenRange", "80-:80", "\"80-\" is not a port (1-65535)"},
    {"RangeFromZero", "0-1:80-81", "\"0-1\" is not a port (1-65535)"},
    {"UnequalRanges", "8000-8001:80", "the two ranges of ports differ in length"},
    {"UnequalRangesOfContainer", "8000:80-81", "the two ranges of ports differ in length"},
    {"NoContainerPort", "80:", "\"\" is not a port (1-65535)"},
    {"AddressWithoutHostPart", "127.0.0.1:80", "the port of the host is missing"},
    {"Ipv6WithoutHostPart", "[::1]:80", "the port of the host is missing"},
    {"NoPort", "[::1]", "no ']:' after the address"},
    {"Ipv6WithoutBrackets", "fe80::1:80:80", "too many colons"},
    {"HostName", "localhost:80:80", "\"localhost\" is not an IP address"},
    {"ShortAddress", "127.1:80:80", "\"127.1\" is not an IP address"},
    {"Ipv4InBrackets", "[127.0.0.1]:80:80", "\"127.0.0.1\" is not an IP address"},
    {"Protocol", "80:80/icmp", "unknown protocol \"icmp\""},
    {"NoProtocol", "80:80/", "unknown protocol \"\""},
    {"Sctp", "80:80/sctp", "sctp ports cannot be published"},
    {"Blank", "80: 80", "\" 80\" is not a port (1-65535)"},
};
class BadPublish : public testing::TestWithParam<Bad> {};
TEST_P(BadPublish, IsRefused) {
  try {
    parsePublish(GetParam().spec);
    ADD_FAILURE() << "taken";
  } catch (const Error& error) {
    EXPECT_EQ(error.cause(),
              fmt::format("-p {}: {}", text::quote(GetParam().spec), GetParam().why));
  }
}
INSTANTIATE_TEST_SUITE_P(Forms, BadPublish, testing::ValuesIn(kBad),
                         [](const auto& test) { return std::string{test.param.name}; });

struct Pair {
  std::string_view name;
  std::vector<std::string> specs;
  bool clash;
};
void PrintTo(const Pair& c, std::ostream* out) {
  *out << text::join(c.specs, " ");
}
const Pair kPairs[] = {
    {"SamePort", {"80:80", "80:81"}, true},
    {"SameText", {"80:80", "80:80"}, true},
    {"OverlappingRanges", {"80-85:80-85", "85:90"}, true},
    {"AllAddressesCoverOne", {"80:80", "127.0.0.1:80:80"}, true},
    {"OneAddressIsCovered", {"[::1]:80:80", "80:80"}, true},
    {"Ipv4CoversIpv4", {"0.0.0.0:80:80", "127.0.0.1:80:80"}, true},
    {"Ipv6CoversIpv6", {"[::1]:80:80", "[::]:80:80"}, true},
    {"OtherFamily", {"0.0.0.0:80:80", "[::]:80:80"}, false},
    {"OtherAddress", {"127.0.0.1:80:80", "127.0.0.2:80:80"}, false},
    {"OtherProtocol", {"80:80", "80:80/udp"}, false},
    {"OtherPort", {"80:80", "81:80"}, false},
    {"AnyFreePort", {"80", "80"}, false},
};
class Published : public testing::TestWithParam<Pair> {};
TEST_P(Published, TakesAPortOfTheHostOnce) {
  if (GetParam().clash) {
    EXPECT_THROW(parsePublished(GetParam().specs), Error);
  } else {
    EXPECT_EQ(parsePublished(GetParam().specs).size(), GetParam().specs.size());
  }
}
INSTANTIATE_TEST_SUITE_P(Pairs, Published, testing::ValuesIn(kPairs),
                         [](const auto& test) { return std::string{test.param.name}; });

TEST(Published, AllPortsAtOnceTakeNoTime) {
  EXPECT_EQ(parsePublished({"1-65535:1-65535", "1-65535:1-65535/udp"}).size(), 131070U);
}

TEST(PortRanges, AreReadFromFilters) {
  const PortRange range = parsePortRange("8000-8010/UDP", "--filter");
  EXPECT_TRUE(range.contains(8000, "udp"));
  EXPECT_TRUE(range.contains(8010, "udp"));
  EXPECT_FALSE(range.contains(8011, "udp"));
  EXPECT_FALSE(range.contains(8000, "tcp"));
  EXPECT_TRUE(parsePortRange("80", "--filter").contains(80, "tcp"));
  for (const char* bad : {"", "x", "0", "80/", "80/icmp", "90-80", "80-90-100"}) {
    EXPECT_THROW(parsePortRange(bad, "--filter"), Error) << bad;
  }
}

}  // namespace
}  // namespace img::cli
