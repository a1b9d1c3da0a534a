// What the environment may ask for.
#include "network/settings.h"

#include <gtest/gtest.h>

#include <cstdlib>

#include "base/error.h"

namespace img::network {
namespace {

class SettingsTest : public testing::Test {
 protected:
  void TearDown() override {
    ::unsetenv("IMG_BRIDGE");
    ::unsetenv("IMG_BRIDGE_SUBNET");
  }
  static Settings with(const char* name, const char* value) {
    ::setenv(name, value, 1);
    return Settings::fromEnvironment("/run/here");
  }
};

TEST_F(SettingsTest, HasABridgeAndNoSubnetWhenNobodyAsks) {
  const Settings settings = Settings::fromEnvironment("/run/here");
  EXPECT_EQ(settings.bridge, "img0");
  EXPECT_EQ(settings.subnet, std::nullopt);
  EXPECT_EQ(settings.folderPath(), "/run/here/network/img0");
}

TEST_F(SettingsTest, TakesNamesOfOurOwnAlone) {
  EXPECT_EQ(with("IMG_BRIDGE", "img_Ci7").bridge, "img_Ci7");
  // A table of that name is the host's, or the name is one of another program's bridge, or none.
  for (const char* name :
       {"filter", "nat", "docker0", "br0", "all", "img/..", "img 1", "img-1", "imgimgimgimgimg1"}) {
    EXPECT_THROW(with("IMG_BRIDGE", name), Error) << name;
  }
}

TEST_F(SettingsTest, TakesASubnetWithRoomForContainers) {
  EXPECT_EQ(with("IMG_BRIDGE_SUBNET", "10.7.3.9/24").subnet->str(), "10.7.3.0/24");
  for (const char* text : {"10.7.3.0", "10.7.3.0/30", "10.7.3.0/33", "fd00::/64", "x"}) {
    EXPECT_THROW(with("IMG_BRIDGE_SUBNET", text), Error) << text;
  }
}

}  // namespace
}  // namespace img::network
