#include "builder/context.h"

#include <gtest/gtest.h>

#include "tests/builder/support.h"

namespace img::builder {
namespace {

class ContextTest : public testing::Test {
 protected:
  ContextTest() {
    sys::mkdirat(temp_.fd(), "in", 0755);
    folder_ = sys::openDirectory(temp_.fd(), "in");
    path_ = temp_.path() + "/in";
    writeFile(temp_.fd(), "outside", "secret");
    writeFile(folder_.get(), "file", "text");
  }
  fs::TempDir temp_;
  Fd folder_;
  std::string path_;
};

TEST_F(ContextTest, ReadsAFileThroughALinkThatStaysInside) {
  sys::symlinkat("/file", folder_.get(), "link");
  EXPECT_EQ(tryReadContextFile(path_, "link", 100), "text");
  EXPECT_EQ(tryReadContextFile(path_, "none", 100), std::nullopt);
}

TEST_F(ContextTest, RefusesADockerfileThatIsALinkOutOfTheContext) {
  sys::symlinkat("../outside", folder_.get(), "Dockerfile");
  try {
    std::ignore = tryReadContextFile(path_, "Dockerfile", 100);
    FAIL() << "it was read";
  } catch (const Error& error) {
    EXPECT_TRUE(error.cause().ends_with("Dockerfile\" is a link out of the build context"));
    EXPECT_EQ(error.why(), "it leads to \"../outside\"");
  }
}

TEST_F(ContextTest, HidesAStoreThatLiesInside) {
  for (const std::string name : {"store", "#odd [name]*"}) {
    const Context context{path_, {".dockerignore", "!" + name}, path_ + "/" + name};
    EXPECT_TRUE(context.ignore().isIgnored(name)) << name;
    EXPECT_TRUE(context.ignore().isIgnored(name + "/index.json")) << name;
    EXPECT_FALSE(context.ignore().isIgnored(name + "2")) << name;
    EXPECT_TRUE(context.isStore(name + "/index.json"));
    EXPECT_FALSE(context.isStore(name + "2"));
  }
  const Context other{path_, {}, temp_.path() + "/inside"};
  EXPECT_FALSE(other.isStore("side"));
}

}  // namespace
}  // namespace img::builder
