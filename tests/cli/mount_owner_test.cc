#include "cli/mount_owner.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fs.h"
#include "base/sys.h"

namespace img::cli {
namespace {

class MountOwner : public testing::Test {
 protected:
  fs::TempDir dir_;

  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "needs root: gives files away";
  }
  [[nodiscard]] Fd open(const std::string& path) const {
    return sys::openat(dir_.fd(), path, O_PATH | O_NOFOLLOW);
  }
  [[nodiscard]] std::pair<uid_t, gid_t> ownerOf(const std::string& path) const {
    const auto st = sys::tryFstatat(dir_.fd(), path);
    return st ? std::pair{st->st_uid, st->st_gid} : std::pair{uid_t(-1), gid_t(-1)};
  }
};

constexpr std::pair<uid_t, gid_t> kUser{1000, 1001};
constexpr std::pair<uid_t, gid_t> kRoot{0, 0};

TEST_F(MountOwner, GivesAllOfATreeButNothingBehindALink) {
  sys::mkdirat(dir_.fd(), "outside", 0755);
  fs::replaceFile(dir_.fd(), "outside/file", "x", 0644, fs::Sync::none);
  fs::makeDirs(dir_.fd(), "tree/a/b", 0755);
  fs::replaceFile(dir_.fd(), "tree/a/b/file", "x", 0644, fs::Sync::none);
  sys::symlinkat("../outside", dir_.fd(), "tree/link");
  sys::symlinkat("../../outside/file", dir_.fd(), "tree/a/link");
  giveMountSource(open("tree"), kUser.first, kUser.second);
  for (const char* path :
       {"tree", "tree/a", "tree/a/b", "tree/a/b/file", "tree/link", "tree/a/link"}) {
    EXPECT_EQ(ownerOf(path), kUser) << path;
  }
  EXPECT_EQ(ownerOf("outside"), kRoot);
  EXPECT_EQ(ownerOf("outside/file"), kRoot);
}

TEST_F(MountOwner, GivesASingleFileWithoutOpeningIt) {
  ASSERT_EQ(::mkfifoat(dir_.fd(), "pipe", 0644), 0);
  giveMountSource(open("pipe"), kUser.first, kUser.second);
  EXPECT_EQ(ownerOf("pipe"), kUser);
}

TEST_F(MountOwner, WhatIsRightAlreadyKeepsItsBits) {
  fs::replaceFile(dir_.fd(), "tool", "x", 0644, fs::Sync::none);
  const Fd tool = sys::openat(dir_.fd(), "tool", O_RDONLY);
  sys::fchown(tool.get(), kUser.first, kUser.second);
  sys::fchmod(tool.get(), 04755);
  giveMountSource(open("tool"), kUser.first, kUser.second);
  EXPECT_EQ(sys::fstat(tool.get()).st_mode & 07777, 04755u);
}

TEST_F(MountOwner, FoldersOfTheHostAreRefusedByAnyPath) {
  sys::symlinkat("/", dir_.fd(), "root");
  sys::symlinkat("/etc/../proc/sys", dir_.fd(), "proc");
  for (const char* path : {"root", "proc"}) {
    const Fd source = sys::openat(dir_.fd(), path, O_PATH);
    EXPECT_THROW(giveMountSource(source, kUser.first, kUser.second), Error) << path;
  }
  EXPECT_THROW(giveMountSource(sys::openat(AT_FDCWD, "/usr/../etc", O_PATH), 1, 1), Error);
  struct stat st {};
  ASSERT_EQ(::stat("/", &st), 0);
  EXPECT_EQ(st.st_uid, 0u);
}

}  // namespace
}  // namespace img::cli
