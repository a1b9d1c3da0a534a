// The bridge, its rules and the pairs of interfaces at it, for real in a network of the test's own.
#include "network/bridge.h"

#include <sys/mount.h>

#include "network/firewall.h"
#include "network/namespace.h"
#include "network/netlink.h"
#include "tests/network/host.h"

namespace img::network {
namespace {

Subnet subnet(std::string_view text) {
  return Subnet::parse(text).value();
}

class BridgeTest : public HostNetwork {};

TEST_F(BridgeTest, IsMadeOnceWithAddressForwardingAndRules) {
  const Bridge first = ensureBridge(settings_);
  EXPECT_EQ(first.subnet.str(), "10.89.0.0/16");
  const std::string shown = tool({"ip", "-4", "-o", "address", "show", "imgtest"});
  EXPECT_NE(shown.find("10.89.0.1/16"), std::string::npos) << shown;
  EXPECT_EQ(fs::readFile(AT_FDCWD, "/proc/sys/net/ipv4/ip_forward"), "1\n");
  EXPECT_TRUE(hasFirewall("imgtest"));
  const Bridge second = ensureBridge(settings_);
  EXPECT_EQ(second.index, first.index);
  EXPECT_EQ(second.subnet, first.subnet);
}

TEST_F(BridgeTest, HasNoIpv6ThatAContainerCouldConfigure) {
  ensureBridge(settings_);
  EXPECT_EQ(fs::readFile(AT_FDCWD, "/proc/sys/net/ipv6/conf/imgtest/disable_ipv6"), "1\n");
  EXPECT_EQ(fs::readFile(AT_FDCWD, "/proc/sys/net/ipv6/conf/imgtest/accept_ra"), "0\n");
}

TEST_F(BridgeTest, LeavesSubnetsOfTheHostAlone) {
  tool({"ip", "link", "add", "other", "type", "bridge"});
  tool({"ip", "link", "set", "other", "up"});
  tool({"ip", "address", "add", "10.89.3.1/24", "dev", "other"});
  tool({"ip", "route", "add", "10.90.0.0/15", "dev", "other"});
  EXPECT_EQ(ensureBridge(settings_).subnet.str(), "10.92.0.0/16");
}

TEST_F(BridgeTest, TakesTheSubnetItIsGiven) {
  settings_.subnet = subnet("192.168.77.0/24");
  EXPECT_EQ(ensureBridge(settings_).subnet.str(), "192.168.77.0/24");
  EXPECT_NE(tool({"ip", "-o", "address", "show", "imgtest"}).find("192.168.77.1/24"),
            std::string::npos);
}

TEST_F(BridgeTest, RefusesASubnetThatTheHostIsIn) {
  tool({"ip", "link", "add", "other", "type", "bridge"});
  tool({"ip", "address", "add", "192.168.77.9/24", "dev", "other"});
  settings_.subnet = subnet("192.168.0.0/16");
  try {
    ensureBridge(settings_);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), Kind::usage);
    EXPECT_NE(error.cause().find("192.168.77.0/24"), std::string::npos) << error.cause();
  }
  EXPECT_EQ(::access("/sys/class/net/imgtest", F_OK), -1);
}

TEST_F(BridgeTest, TurnsForwardingOnAgain) {
  ensureBridge(settings_);
  ASSERT_TRUE(trySetSysctl("ipv4/ip_forward", "0"));
  ensureBridge(settings_);
  EXPECT_EQ(fs::readFile(AT_FDCWD, "/proc/sys/net/ipv4/ip_forward"), "1\n");
}

// Another program in the place of nft(8), for the calling process alone.
void replaceNft(const std::string& by) {
  sys::unshare(CLONE_NEWNS);
  sys::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr);
  sys::mount(by.c_str(), findNft().value().c_str(), nullptr, MS_BIND, nullptr);
}

TEST_F(BridgeTest, MakesTheHostNoRouterWithoutItsRules) {
  for (const char* instead : {"/dev/null", "/bin/false"}) {
    SCOPED_TRACE(instead);
    ASSERT_TRUE(trySetSysctl("ipv4/ip_forward", "0"));
    Child::fork([&] {
      replaceNft(instead);
      ensureBridge(settings_);
      return std::string{};
    }).finish();
    EXPECT_EQ(fs::readFile(AT_FDCWD, "/proc/sys/net/ipv4/ip_forward"), "0\n");
    ensureBridge(settings_);
    EXPECT_TRUE(hasFirewall("imgtest")) << "another try mends it";
    EXPECT_EQ(fs::readFile(AT_FDCWD, "/proc/sys/net/ipv4/ip_forward"), "1\n");
    removeBridge(settings_);
  }
}

TEST_F(BridgeTest, FindsAChainOfTheHostThatDropsWhatItDoesNotKnow) {
  const std::string nft = findNft().value();
  ensureBridge(settings_);
  EXPECT_EQ(findDroppingChain(nft, "imgtest"), std::nullopt);
  loadFirewall(nft,
               "table inet mine {\n"
               " chain input { type filter hook input priority 0; policy drop; }\n"
               " chain onward { type filter hook forward priority 0; policy drop; }\n"
               "}\n");
  EXPECT_EQ(findDroppingChain(nft, "imgtest"), "inet mine onward");
  loadFirewall(nft, "add rule inet mine onward iifname \"imgtest\" accept\n");
  EXPECT_EQ(findDroppingChain(nft, "imgtest"), std::nullopt);
}

TEST_F(BridgeTest, IsMadeAnewWithItsSubnetWhenSomebodyRemovedIt) {
  settings_.subnet = subnet("10.201.0.0/16");
  const Bridge first = ensureBridge(settings_);
  settings_.subnet.reset();
  tool({"ip", "link", "del", "imgtest"});
  const Bridge second = ensureBridge(settings_);
  EXPECT_NE(second.index, first.index);
  EXPECT_EQ(second.subnet, first.subnet);
}

TEST_F(BridgeTest, GetsItsRulesBackAfterAFlushOfTheHosts) {
  ensureBridge(settings_);
  tool({"nft", "flush", "ruleset"});
  EXPECT_FALSE(hasFirewall("imgtest"));
  ensureBridge(settings_);
  EXPECT_TRUE(hasFirewall("imgtest"));
}

TEST_F(BridgeTest, KeepsTheRulesOfOthers) {
  tool({"nft", "add", "table", "ip", "mine"});
  ensureBridge(settings_);
  const std::string tables = tool({"nft", "list", "tables"});
  EXPECT_NE(tables.find("table ip mine"), std::string::npos);
  removeBridge(settings_);
  EXPECT_EQ(tool({"nft", "list", "tables"}), "table ip mine\n");
  EXPECT_EQ(::access("/sys/class/net/imgtest", F_OK), -1);
}

TEST_F(BridgeTest, IsAdoptedWhenOnlyTheStateIsLost) {
  const Bridge first = ensureBridge(settings_);
  sys::unlinkat(settings_.folder().get(), "state", 0);
  EXPECT_EQ(ensureBridge(settings_).index, first.index);
}

TEST_F(BridgeTest, RefusesAnInterfaceThatIsNoBridge) {
  tool({"ip", "link", "add", "imgtest", "type", "veth"});
  try {
    ensureBridge(settings_);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), Kind::exists);
    EXPECT_EQ(error.code(), "bridge");
    EXPECT_FALSE(isBridgeImpossible(error));
  }
}

TEST_F(BridgeTest, SaysThatItIsImpossibleWithoutTheRight) {
  const std::string text = Child::fork([&] {
                             // A user namespace that does not own this network.
                             sys::unshare(CLONE_NEWUSER);
                             try {
                               ensureBridge(settings_);
                               return std::string{"made"};
                             } catch (const Error& error) {
                               return std::string{isBridgeImpossible(error) ? "impossible" : "bad"};
                             }
                           }).finish();
  EXPECT_EQ(text, "impossible");
}

TEST_F(BridgeTest, ConnectsANamespaceInBothDirections) {
  const Bridge bridge = ensureBridge(settings_);
  const Fd inside = makeNamespace();
  const Ipv4 address = bridge.subnet.first();
  attachToBridge(bridge, inside.get(), address, macOf(address));
  const std::string shown = toolIn(inside, {"ip", "-o", "address", "show", "eth0"});
  EXPECT_NE(shown.find("10.89.0.2/16 brd 10.89.255.255"), std::string::npos) << shown;
  EXPECT_EQ(shown.find("inet6"), std::string::npos) << shown;
  EXPECT_EQ(toolIn(inside, {"ip", "route", "show", "default"}),
            "default via 10.89.0.1 dev eth0 proto static \n");
  EXPECT_NE(toolIn(inside, {"ip", "link", "show", "eth0"}).find(macText(macOf(address))),
            std::string::npos);
  tool({"busybox", "ping", "-c1", "-W1", "10.89.0.2"});
  toolIn(inside, {"busybox", "ping", "-c1", "-W1", "10.89.0.1"});
}

TEST_F(BridgeTest, LetsGoOfThePairWithTheNamespace) {
  const Bridge bridge = ensureBridge(settings_);
  {
    const Fd inside = makeNamespace();
    attachToBridge(bridge, inside.get(), bridge.subnet.first(), macOf(bridge.subnet.first()));
    EXPECT_NE(tool({"ip", "link", "show", "master", "imgtest"}), "");
  }
  // The kernel clears a namespace away in its own time.
  std::string left = "?";
  for (int tries = 0; tries < 500 && !left.empty(); ++tries) {
    left = tool({"ip", "link", "show", "master", "imgtest"});
    ::usleep(10'000);
  }
  EXPECT_EQ(left, "");
}

TEST(FirewallScript, ReplacesTheTableOfTheBridgeAlone) {
  const std::string script = firewallScript("img0", subnet("10.89.0.0/16"));
  EXPECT_EQ(script.find("flush ruleset"), std::string::npos);
  EXPECT_EQ(script,
            "add table ip img0\n"
            "delete table ip img0\n"
            "table ip img0 {\n"
            "  chain postrouting {\n"
            "    type nat hook postrouting priority srcnat; policy accept;\n"
            "    ip saddr 10.89.0.0/16 ip daddr != 10.89.0.0/16 ip daddr != 224.0.0.0/4 oifname != "
            "\"img0\" masquerade\n"
            "  }\n"
            "  chain forward {\n"
            "    type filter hook forward priority filter; policy accept;\n"
            "    oifname \"img0\" ct state established,related accept\n"
            "    oifname \"img0\" iifname \"img0\" accept\n"
            "    oifname \"img0\" drop\n"
            "  }\n"
            "}\n");
}

}  // namespace
}  // namespace img::network
