#include "store/build_logs.h"

#include <gtest/gtest.h>

#include "base/fs.h"
#include "base/sys.h"

namespace img::store {
namespace {

class BuildLogsTest : public testing::Test {
 protected:
  // A finished build with some output; `second`: its time, so that the order is known.
  void addBuild(const std::string& id, long second) {
    BuildLog log{layout, id};
    log.append(1, "output of " + id);
    log.finish("{}");
    sys::utimensat(layout.fd(), "builds/" + id, {second, 0}, {second, 0});
  }

  fs::TempDir temp;
  Layout layout = Layout::open(temp.path() + "/store");
  BuildLogs logs{layout};
};

TEST_F(BuildLogsTest, KeepsEveryByteOfEachStep) {
  BuildLog log{layout, "ab12"};
  EXPECT_TRUE(log.append(3, std::string{"one\n\0two", 8}));
  EXPECT_TRUE(log.append(5, "other"));
  EXPECT_TRUE(log.append(3, "\r\xff"));
  log.finish("{\"id\":\"ab12\"}");
  const Fd folder = logs.open("ab12");
  EXPECT_EQ(BuildLogs::steps(folder.get()), (std::vector<int>{3, 5}));
  EXPECT_EQ(fs::readFile(folder.get(), "3.log"), (std::string{"one\n\0two\r\xff", 10}));
  EXPECT_EQ(fs::readFile(folder.get(), "build.json"), "{\"id\":\"ab12\"}");
  EXPECT_EQ(log.size(3), 10u);
  EXPECT_EQ(log.read(3, 2, 4), (std::string{"e\n\0t", 4}));
  EXPECT_EQ(log.read(3, 10, 4), "");
}

TEST_F(BuildLogsTest, WritesNothingForABuildWithoutOutput) {
  BuildLog log{layout, "ab"};
  log.finish("{}");
  EXPECT_TRUE(log.isEmpty());
  EXPECT_FALSE(sys::tryFstatat(layout.fd(), "builds"));
}

TEST_F(BuildLogsTest, FindsABuildByIdPrefixAndAsTheLastOne) {
  addBuild("aa11", 100);
  addBuild("aa22", 300);
  addBuild("bb", 200);
  EXPECT_EQ(logs.ids(), (std::vector<std::string>{"aa22", "bb", "aa11"}));
  EXPECT_EQ(fs::readFile(logs.open("b").get(), "1.log"), "output of bb");
  EXPECT_EQ(fs::readFile(logs.open("last").get(), "1.log"), "output of aa22");
  EXPECT_THROW((void)logs.open("aa"), Error) << "two builds";
  EXPECT_THROW((void)logs.open("cc"), Error);
  EXPECT_THROW((void)logs.open("../ingest"), Error);
}

TEST_F(BuildLogsTest, AnIdThatBeginsAnotherOneIsStillThatBuild) {
  addBuild("aa", 100);
  addBuild("aa11", 200);
  EXPECT_EQ(fs::readFile(logs.open("aa").get(), "1.log"), "output of aa");
}

TEST_F(BuildLogsTest, PrunesTheOldestButNotABuildUnderWay) {
  BuildLog running{layout, "00"};
  running.append(1, "x");
  sys::utimensat(layout.fd(), "builds/00", {1, 0}, {1, 0});
  for (long i = 1; i <= 4; ++i) addBuild("f" + std::to_string(i), 100 * i);
  logs.prune(2);
  EXPECT_EQ(logs.ids(), (std::vector<std::string>{"f4", "f3", "00"}));
}

TEST_F(BuildLogsTest, KeepsTwenty) {
  for (long i = 0; i < 25; ++i) addBuild("e" + std::to_string(i), 100 + i);
  EXPECT_EQ(logs.ids().size(), kKeptBuildLogs);
}

TEST_F(BuildLogsTest, GoesOnWithoutALogThatCannotBeWritten) {
  const Fd file = sys::openat(layout.fd(), "builds", O_WRONLY | O_CREAT, 0600);  // not a folder
  BuildLog log{layout, "ab"};
  EXPECT_FALSE(log.append(1, "x"));
  EXPECT_FALSE(log.append(2, "y"));
  EXPECT_EQ(log.size(1), 0u);
  log.finish("{}");
}

TEST_F(BuildLogsTest, RefusesAnIdThatIsAPath) {
  EXPECT_THROW((BuildLog{layout, "../x"}), Error);
  EXPECT_THROW((BuildLog{layout, ""}), Error);
}

}  // namespace
}  // namespace img::store
