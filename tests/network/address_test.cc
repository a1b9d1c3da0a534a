// Addresses, subnets and MACs as values; which subnet the bridge takes.
#include "network/address.h"

#include <gtest/gtest.h>

namespace img::network {
namespace {

Subnet subnet(std::string_view text) {
  return Subnet::parse(text).value();
}

struct Text {
  std::string_view name, text;
  bool isGood;
};
void PrintTo(const Text& one, std::ostream* out) {
  *out << one.text;
}

class AddressText : public testing::TestWithParam<Text> {};
TEST_P(AddressText, IsAcceptedWhenItMeansOneAddressToEveryReader) {
  const auto address = Ipv4::parse(GetParam().text);
  EXPECT_EQ(address.has_value(), GetParam().isGood);
  if (address) {
    EXPECT_EQ(address->str(), GetParam().text);
  }
}
constexpr Text kAddresses[] = {
    {"Plain", "10.89.0.2", true},
    {"Zero", "0.0.0.0", true},
    {"Highest", "255.255.255.255", true},
    {"ThreeParts", "10.89.2", false},
    {"FiveParts", "1.2.3.4.5", false},
    {"TooLarge", "10.89.0.256", false},
    {"LeadingZero", "10.89.0.02", false},
    {"Empty", "", false},
    {"Ipv6", "::1", false},
    {"Blank", " 10.0.0.1", false},
    {"Sign", "+1.0.0.1", false},
    {"EmptyPart", "10..0.1", false},
};
INSTANTIATE_TEST_SUITE_P(Texts, AddressText, testing::ValuesIn(kAddresses),
                         [](const auto& test) { return std::string{test.param.name}; });

TEST(SubnetTest, ClearsWhatLiesBeyondThePrefix) {
  EXPECT_EQ(subnet("10.89.3.7/16").str(), "10.89.0.0/16");
  EXPECT_EQ(subnet("192.168.7.255/29").str(), "192.168.7.248/29");
}

TEST(SubnetTest, RefusesWhatHasNoRoomOrNoPrefix) {
  for (const char* text : {"10.0.0.0", "10.0.0.0/", "10.0.0.0/30", "10.0.0.0/33", "10.0.0/8"}) {
    EXPECT_FALSE(Subnet::parse(text)) << text;
  }
}

TEST(SubnetTest, LeasesAllButNetworkGatewayAndBroadcast) {
  const Subnet small = subnet("10.1.2.8/29");
  EXPECT_EQ(small.gateway().str(), "10.1.2.9");
  EXPECT_EQ(small.first().str(), "10.1.2.10");
  EXPECT_EQ(small.last().str(), "10.1.2.14");
  EXPECT_EQ(small.broadcast().str(), "10.1.2.15");
  EXPECT_FALSE(small.canLease(*Ipv4::parse("10.1.2.9")));
  EXPECT_FALSE(small.canLease(*Ipv4::parse("10.1.2.15")));
  EXPECT_TRUE(small.canLease(*Ipv4::parse("10.1.2.14")));
  EXPECT_FALSE(small.canLease(*Ipv4::parse("10.1.2.16")));
}

TEST(SubnetTest, OverlapsWhenOneLiesInTheOther) {
  EXPECT_TRUE(subnet("10.0.0.0/8").overlaps(subnet("10.89.0.0/16")));
  EXPECT_TRUE(subnet("10.89.0.0/16").overlaps(subnet("10.0.0.0/8")));
  EXPECT_TRUE(subnet("10.89.4.0/24").overlaps(subnet("10.89.0.0/16")));
  EXPECT_FALSE(subnet("10.88.0.0/16").overlaps(subnet("10.89.0.0/16")));
  EXPECT_TRUE(Subnet{}.overlaps(subnet("10.89.0.0/16")));
}

TEST(ChooseSubnet, TakesTheFirstThatNobodyUses) {
  EXPECT_EQ(chooseSubnet({})->str(), "10.89.0.0/16");
  EXPECT_EQ(chooseSubnet({subnet("192.168.1.0/24")})->str(), "10.89.0.0/16");
  EXPECT_EQ(chooseSubnet({subnet("10.89.7.0/24"), subnet("10.90.0.0/16")})->str(), "10.91.0.0/16");
  EXPECT_EQ(chooseSubnet({subnet("10.88.0.0/13")})->str(), "10.96.0.0/16");
}

TEST(ChooseSubnet, FindsNothingWhereEverythingIsTaken) {
  EXPECT_FALSE(chooseSubnet({subnet("10.0.0.0/8")}));
}

TEST(MacTest, ParsesWhatAnInterfaceCanHave) {
  EXPECT_EQ(macText(parseMac("02:42:AC:11:00:02").value()), "02:42:ac:11:00:02");
  for (const char* text : {"02:42:ac:11:00", "02:42:ac:11:00:02:03", "2:42:ac:11:00:02",
                           "01:00:5e:00:00:01", "0g:42:ac:11:00:02", ""}) {
    EXPECT_FALSE(parseMac(text)) << text;
  }
}

TEST(MacTest, FollowsFromTheAddress) {
  const Mac mac = macOf(*Ipv4::parse("10.89.0.2"));
  EXPECT_EQ(macText(mac), "02:69:0a:59:00:02");
  EXPECT_NE(mac, macOf(*Ipv4::parse("10.89.0.3")));
  EXPECT_EQ(parseMac(macText(mac)), mac);
}

}  // namespace
}  // namespace img::network
