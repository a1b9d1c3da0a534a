#include "store/volumes.h"

#include <gtest/gtest.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fs.h"
#include "base/sys.h"
#include "store/tree_copy.h"

namespace img::store {
namespace {

class VolumesTest : public testing::Test {
 protected:
  fs::TempDir dir_;
  Layout layout_ = Layout::open(dir_.path() + "/store");
  Volumes volumes_{layout_};

  std::vector<std::string> filesOf(const std::string& name) {
    std::vector<std::string> names;
    for (const fs::Entry& entry :
         fs::listSorted(sys::openDirectory(volumes_.openData(name).get(), ".").get())) {
      names.push_back(entry.name);
    }
    return names;
  }
  static Volumes::Fill touch(const std::string& name) {
    return [name](int data) { fs::replaceFile(data, name, "", 0644, fs::Sync::none); };
  }
};

TEST_F(VolumesTest, CreatingTwiceIsOneVolume) {
  bool created = false;
  const Volume first = volumes_.create("data", {{"k", "v"}}, created);
  EXPECT_TRUE(created);
  const Volume second = volumes_.create("data", {}, created);
  EXPECT_FALSE(created);
  EXPECT_EQ(second.createdAt, first.createdAt);
  EXPECT_EQ(second.labels.at("k"), "v");
  EXPECT_EQ(second.mountpoint, layout_.root() + "/volumes/data/data");
  EXPECT_EQ(volumes_.list().size(), 1u);
}

TEST_F(VolumesTest, AnAnonymousVolumeGetsA64DigitName) {
  bool created = false;
  const Volume volume = volumes_.create("", {}, created);
  EXPECT_EQ(volume.name.size(), 64u);
  EXPECT_TRUE(volume.anonymous);
  EXPECT_TRUE(volumes_.find(volume.name)->anonymous);
}

TEST_F(VolumesTest, BadNamesAreRefused) {
  bool created = false;
  EXPECT_THROW(volumes_.create("../x", {}, created), Error);
  EXPECT_FALSE(volumes_.find("../x"));
  EXPECT_THROW(volumes_.remove("nothing"), Error);
}

TEST_F(VolumesTest, TheFirstMountFillsANewVolumeOnce) {
  volumes_.prepare("data", touch("one"));
  volumes_.prepare("data", touch("two"));
  EXPECT_EQ(filesOf("data"), std::vector<std::string>{"one"});
}

TEST_F(VolumesTest, AVolumeMadeBeforehandIsFilledAtItsFirstMount) {
  bool created = false;
  volumes_.create("data", {}, created);
  volumes_.prepare("data", touch("one"));
  volumes_.prepare("data", touch("two"));
  EXPECT_EQ(filesOf("data"), std::vector<std::string>{"one"});
}

TEST_F(VolumesTest, WhatLiesInAVolumeIsNotMixedWithTheImages) {
  bool created = false;
  volumes_.create("data", {}, created);
  touch("mine")(sys::openDirectory(layout_.fd(), "volumes/data/data").get());
  volumes_.prepare("data", touch("image"));
  EXPECT_EQ(filesOf("data"), std::vector<std::string>{"mine"});
}

TEST_F(VolumesTest, AFailedFillLeavesNoVolume) {
  EXPECT_THROW(volumes_.prepare("data", [](int) { throw Error{Kind::failed, "no"}; }), Error);
  EXPECT_FALSE(volumes_.find("data"));
  EXPECT_TRUE(fs::list(layout_.ingest()).empty());
}

TEST_F(VolumesTest, RemovalTakesTheFilesToo) {
  volumes_.prepare("data", touch("one"));
  volumes_.remove("data");
  EXPECT_FALSE(volumes_.find("data"));
  EXPECT_TRUE(volumes_.list().empty());
  EXPECT_TRUE(fs::list(layout_.ingest()).empty());
}

class TreeCopy : public testing::Test {
 protected:
  fs::TempDir dir_;
  Fd from_, to_;
  void SetUp() override {
    sys::mkdirat(dir_.fd(), "from", 0755);
    sys::mkdirat(dir_.fd(), "to", 0700);
    from_ = sys::openDirectory(dir_.fd(), "from");
    to_ = sys::openDirectory(dir_.fd(), "to");
  }
  void write(const std::string& path, std::string_view text) {
    writeAll(sys::openat(from_.get(), path, O_CREAT | O_WRONLY, 0644).get(), text, path);
  }
};

TEST_F(TreeCopy, ModesTimesAndContentAreTheSame) {
  sys::mkdirat(from_.get(), "sub", 0755);
  write("sub/file", "hello");
  sys::fchmodat(from_.get(), "sub/file", 04751);
  sys::fchmodat(from_.get(), "sub", 01777);
  sys::utimensat(from_.get(), "sub/file", {7, 8}, {9, 10});
  copyTree(from_.get(), to_.get());
  EXPECT_EQ(fs::readFile(to_.get(), "sub/file"), "hello");
  const struct stat file = sys::fstatat(to_.get(), "sub/file");
  EXPECT_EQ(file.st_mode & 07777, 04751u);
  EXPECT_EQ(file.st_mtim.tv_sec, 9);
  EXPECT_EQ(file.st_mtim.tv_nsec, 10);
  EXPECT_EQ(sys::fstatat(to_.get(), "sub").st_mode & 07777, 01777u);
  EXPECT_EQ(sys::fstat(to_.get()).st_mode & 07777, 0755u) << "the top folder's own mode";
}

TEST_F(TreeCopy, LinksStayLinks) {
  write("a", "x");
  sys::linkat(from_.get(), "a", from_.get(), "b", 0);
  sys::symlinkat("/etc/passwd", from_.get(), "c");
  copyTree(from_.get(), to_.get());
  EXPECT_EQ(sys::fstatat(to_.get(), "a").st_ino, sys::fstatat(to_.get(), "b").st_ino);
  EXPECT_EQ(sys::readlinkat(to_.get(), "c"), "/etc/passwd");
}

TEST_F(TreeCopy, HolesStayHoles) {
  const Fd fd = sys::openat(from_.get(), "sparse", O_CREAT | O_WRONLY, 0644);
  sys::ftruncate(fd.get(), off_t{8} << 20);
  ASSERT_EQ(::pwrite(fd.get(), "end", 3, (off_t{8} << 20) - 3), 3);
  copyTree(from_.get(), to_.get());
  const struct stat st = sys::fstatat(to_.get(), "sparse");
  EXPECT_EQ(st.st_size, off_t{8} << 20);
  EXPECT_LT(st.st_blocks, 1024);
  EXPECT_EQ(fs::readFile(to_.get(), "sparse").substr((8 << 20) - 3), "end");
}

TEST_F(TreeCopy, OwnersDevicesAndAttributesAreTheSame) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root: makes device nodes and changes owners";
  write("file", "x");
  sys::lchownat(from_.get(), "file", 12, 34);
  sys::mknodat(from_.get(), "null", S_IFCHR | 0666, 0x103);
  sys::mknodat(from_.get(), "fifo", S_IFIFO | 0640, 0);
  const bool hasXattr =
      ::setxattr((dir_.path() + "/from/file").c_str(), "user.note", "hi", 2, 0) == 0;
  copyTree(from_.get(), to_.get());
  const struct stat st = sys::fstatat(to_.get(), "file");
  EXPECT_EQ(st.st_uid, 12u);
  EXPECT_EQ(st.st_gid, 34u);
  EXPECT_EQ(sys::fstatat(to_.get(), "null").st_rdev, dev_t{0x103});
  EXPECT_TRUE(S_ISFIFO(sys::fstatat(to_.get(), "fifo").st_mode));
  if (hasXattr) {
    EXPECT_EQ(sys::fgetxattr(sys::openat(to_.get(), "file", O_RDONLY).get(), "user.note"), "hi");
  }
}

}  // namespace
}  // namespace img::store
