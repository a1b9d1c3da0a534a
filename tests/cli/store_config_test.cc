#include "cli/store_config.h"

#include <fcntl.h>
#include <gtest/gtest.h>

#include <cstdlib>

#include "base/fs.h"

namespace img::cli {
namespace {

class StoreConfigTest : public testing::Test {
 protected:
  std::string write(const std::string& name, const std::string& text) {
    fs::replaceFile(folder.fd(), name, text, 0644, fs::Sync::none);
    return folder.path() + "/" + name;
  }
  fs::TempDir folder;
};

TEST_F(StoreConfigTest, WithoutAnyATenthStaysFreeButTenGibibytesAtMost) {
  const StoreConfig config = readStoreConfig({folder.path() + "/none"});
  EXPECT_EQ(config.limits.maxSize, 0U);
  EXPECT_EQ(config.limits.reservePercent, 10);
  EXPECT_EQ(config.limits.reserveBytes, std::uint64_t{10} << 30);
}

TEST_F(StoreConfigTest, TheUsersFileIsOverTheSystems) {
  const std::string system = write("a", "[store]\nmax-size = \"5g\"\nreserve = \"20%\"\n");
  const std::string user = write("b", "[run]\ninit = true\n[store]\nreserve = \"1g\"\n");
  const StoreConfig config = readStoreConfig({system, user});
  EXPECT_EQ(config.limits.maxSize, std::uint64_t{5} << 30);
  EXPECT_EQ(config.limits.reservePercent, 0);
  EXPECT_EQ(config.limits.reserveBytes, std::uint64_t{1} << 30);
}

TEST_F(StoreConfigTest, TheEnvironmentIsOverTheFiles) {
  const std::string file = write("a", "[store]\nmax-size = 100\nreserve = \"20%\"\n");
  ::setenv("IMG_STORE_RESERVE", "0", 1);
  ::setenv("IMG_STORE_MAX_SIZE", "7k", 1);
  const StoreConfig config = readStoreConfig({file});
  ::unsetenv("IMG_STORE_RESERVE");
  ::unsetenv("IMG_STORE_MAX_SIZE");
  EXPECT_EQ(config.limits.maxSize, 7168U);
  EXPECT_EQ(config.limits.reserveBytes, 0U);
}

TEST_F(StoreConfigTest, AnUnknownKeyIsAWarningWithItsLine) {
  const std::string file = write("a", "[store]\n\nmaximum = 1\n");
  const StoreConfig config = readStoreConfig({file});
  ASSERT_EQ(config.warnings.size(), 1U);
  EXPECT_EQ(config.warnings[0].cause(), file + ":3: unknown key \"maximum\" in [store]");
}

TEST_F(StoreConfigTest, BadValuesNameFileAndLine) {
  for (const char* text : {"[store]\nreserve = \"100%\"\n", "[store]\nreserve = \"lots\"\n",
                           "[store]\nmax-size = true\n", "[store]\nreserve = [\n"}) {
    const std::string file = write("a", text);
    try {
      readStoreConfig({file});
      ADD_FAILURE() << text;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), Kind::usage) << text;
      EXPECT_NE(error.cause().find(file + ":"), std::string::npos) << error.cause();
    }
  }
}

}  // namespace
}  // namespace img::cli
