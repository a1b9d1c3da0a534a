// resolv.conf of a container: which servers it can reach, and what it was asked to have.
#include "network/resolver.h"

#include <gtest/gtest.h>

namespace img::network {
namespace {

struct Case {
  std::string_view name;
  HostDns host;
  DnsOptions asked;
  DnsReach reach;
  std::string expected;
  bool isWithoutServer = false;
};
void PrintTo(const Case& one, std::ostream* out) {
  *out << one.name;
}

class ResolvConfText : public testing::TestWithParam<Case> {};
TEST_P(ResolvConfText, FollowsFromTheHostsAndTheOptions) {
  const Case& one = GetParam();
  const ResolvConf result = resolvConf(one.host, one.asked, one.reach);
  EXPECT_EQ(result.text, one.expected);
  EXPECT_EQ(result.isWithoutServer, one.isWithoutServer);
}

const char kPlain[] = "# comment\nnameserver 192.0.2.1\nsearch corp.example\noptions ndots:2\n";
const char kStub[] = "nameserver 127.0.0.53\noptions edns0\n";

const Case kCases[] = {
    {"TheHostsServerIsKept",
     {kPlain, ""},
     {},
     {},
     "nameserver 192.0.2.1\nsearch corp.example\noptions ndots:2\n"},
    {"TheHostsOwnNetworkGetsTheFileAsItIs",
     {kStub, "nameserver 9.9.9.9\n"},
     {},
     {true, true, ""},
     kStub},
    {"AStubIsReplacedByWhatIsBehindIt",
     {kStub, "nameserver 192.0.2.7\n"},
     {},
     {},
     "nameserver 192.0.2.7\noptions edns0\n"},
    {"LoopbackAloneLeavesNothing", {kStub, ""}, {}, {}, "options edns0\n", true},
    {"LoopbackAloneLeavesTheForwarder",
     {kStub, ""},
     {},
     {false, true, "169.254.1.1"},
     "nameserver 169.254.1.1\noptions edns0\n"},
    {"LoopbackBesideAnotherGoes",
     {"nameserver ::1\nnameserver 192.0.2.1\n", ""},
     {},
     {},
     "nameserver 192.0.2.1\n"},
    {"Ipv6NeedsIpv6",
     {"nameserver 2001:db8::1\nnameserver 192.0.2.1\n", ""},
     {},
     {},
     "nameserver 192.0.2.1\n"},
    {"Ipv6StaysWhereItIsReached",
     {"nameserver 2001:db8::1\n", ""},
     {},
     {false, true, ""},
     "nameserver 2001:db8::1\n"},
    {"AnInterfaceOfTheHostIsNotInside",
     {"nameserver fe80::1%eth0\n", ""},
     {},
     {false, true, ""},
     "",
     true},
    {"OptionsReplaceLineByLine",
     {kPlain, ""},
     {{"10.0.0.53"}, {}, {"rotate", "timeout:1"}},
     {},
     "nameserver 10.0.0.53\nsearch corp.example\noptions rotate timeout:1\n"},
    {"ADotMeansNoSearch",
     {kPlain, ""},
     {{}, {"."}, {}},
     {},
     "nameserver 192.0.2.1\noptions ndots:2\n"},
    {"DomainCountsAsSearch",
     {"domain old.example\nnameserver\t192.0.2.1\n", ""},
     {},
     {},
     "nameserver 192.0.2.1\nsearch old.example\n"},
    {"WithoutAHostNothing", {"", ""}, {}, {}, ""},
};
INSTANTIATE_TEST_SUITE_P(Cases, ResolvConfText, testing::ValuesIn(kCases),
                         [](const auto& test) { return std::string{test.param.name}; });

}  // namespace
}  // namespace img::network
