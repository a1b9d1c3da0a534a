#include "builder/tree_covers.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include "base/error.h"
#include "base/fs.h"
#include "base/sys.h"

namespace img::builder {
namespace {

class Covers : public testing::Test {
 protected:
  void SetUp() override {
    for (const char* name : {"tree", "aside", "tree/etc"}) sys::mkdirat(top.fd(), name, 0755);
    write("etc/hosts", "the image's");
    sys::utimensat(top.fd(), "tree/etc", {5, 0}, {5, 0});
    sys::utimensat(top.fd(), "tree", {5, 0}, {5, 0});
  }
  void write(const std::string& name, std::string_view text) {
    fs::replaceFile(top.fd(), "tree/" + name, text, 0644, fs::Sync::none);
  }
  std::string read(const std::string& name) { return fs::readFile(top.fd(), "tree/" + name); }
  bool exists(const std::string& name) {
    return sys::tryFstatat(top.fd(), "tree/" + name).has_value();
  }
  long timeOf(const std::string& name) { return sys::fstatat(top.fd(), name).st_mtim.tv_sec; }

  fs::TempDir top;
  Fd tree() { return sys::openDirectory(top.fd(), "tree"); }
  Fd aside() { return sys::openDirectory(top.fd(), "aside"); }
};

TEST_F(Covers, StandForWhatIsThereAndGiveItBack) {
  const Fd root = tree();
  TreeCovers covers{root.get(), aside()};
  covers.coverWithFile("/etc/hosts", "ours", 0644);
  EXPECT_EQ(read("etc/hosts"), "ours");
  write("etc/hosts", "the step's");
  sys::utimensat(top.fd(), "tree/etc", {5, 0}, {5, 0});
  covers.restore();
  EXPECT_EQ(read("etc/hosts"), "the image's");
  EXPECT_EQ(timeOf("tree/etc"), 5);
}

TEST_F(Covers, TakeAwayWhatTheyMade) {
  const Fd root = tree();
  TreeCovers covers{root.get(), aside()};
  covers.coverWithFolder("/a/b/c", 01777);
  write("a/b/c/left", "x");
  EXPECT_EQ(sys::fstatat(top.fd(), "tree/a/b/c").st_mode & 07777, 01777U);
  covers.restore();
  EXPECT_FALSE(exists("a"));
  EXPECT_EQ(timeOf("tree"), 5);
}

TEST_F(Covers, LeaveFoldersThatTheStepHasFilled) {
  const Fd root = tree();
  TreeCovers covers{root.get(), aside()};
  covers.coverWithFolder("/a/b/c", 0755);
  write("a/own", "x");
  covers.restore();
  EXPECT_TRUE(exists("a/own"));
  EXPECT_FALSE(exists("a/b"));
}

TEST_F(Covers, FollowLinksInsideTheTreeOnly) {
  sys::symlinkat("../../run/resolv.conf", top.fd(), "tree/etc/resolv.conf");
  const Fd root = tree();
  TreeCovers covers{root.get(), aside()};
  covers.coverWithFile("/etc/resolv.conf", "ours", 0644);
  EXPECT_EQ(read("run/resolv.conf"), "ours");
  EXPECT_FALSE(sys::tryFstatat(top.fd(), "run").has_value());
  covers.restore();
  EXPECT_FALSE(exists("run"));
  EXPECT_TRUE(exists("etc/resolv.conf"));
}

TEST_F(Covers, WithinEachOtherAreTakenAwayInTurn) {
  const Fd root = tree();
  TreeCovers covers{root.get(), aside()};
  covers.coverWithFolder("/etc", 0755);
  covers.coverWithFile("/etc/hosts", "ours", 0644);
  covers.restore();
  EXPECT_EQ(read("etc/hosts"), "the image's");
  EXPECT_TRUE(fs::list(aside().get()).empty());
}

TEST_F(Covers, OfAFolderThatTheStepHasRemovedAreNoTrouble) {
  const Fd root = tree();
  TreeCovers covers{root.get(), aside()};
  covers.coverWithFile("/etc/hosts", "ours", 0644);
  fs::removeTree(top.fd(), "tree/etc");
  covers.restore();
  EXPECT_FALSE(exists("etc"));
  EXPECT_TRUE(fs::list(aside().get()).empty());
}

TEST_F(Covers, NeverStandForTheWholeTree) {
  const Fd root = tree();
  TreeCovers covers{root.get(), aside()};
  EXPECT_THROW(covers.coverWithFolder("/", 0755), Error);
}

}  // namespace
}  // namespace img::builder
