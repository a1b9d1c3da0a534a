#include "store/owner_shift.h"

#include <sys/stat.h>

#include "tests/store/store_fixture.h"

namespace img::store {
namespace {

using test::errorOf;

class OwnerShiftTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!test::isRoot()) GTEST_SKIP() << "giving files away needs root";
    fs::makeDirs(dir.fd(), "tree/deep").reset();
    make("tree/file", 0, 0, 0644);
    make("tree/deep/special", 1000, 1001, 04755);
    sys::linkat(dir.fd(), "tree/file", dir.fd(), "tree/deep/second", 0);
    sys::symlinkat("nowhere", dir.fd(), "tree/link");
    sys::mknodat(dir.fd(), "tree/pipe", S_IFIFO | 0600, 0);
  }
  void make(const std::string& path, uid_t uid, gid_t gid, mode_t mode) {
    fs::replaceFile(dir.fd(), path, "x", mode, fs::Sync::none);
    sys::lchownat(dir.fd(), path, uid, gid);
    sys::fchmodat(dir.fd(), path, mode);
  }
  std::string ownerOf(const std::string& path) {
    const struct stat st = sys::fstatat(dir.fd(), path);
    return fmt::format("{}:{}:{:o}", st.st_uid, st.st_gid, st.st_mode & 07777);
  }
  Fd tree() { return sys::openDirectory(dir.fd(), "tree"); }
  void shiftOwners(const OwnerShift& how) {
    setOwners(tree().get(), ownersBelow(tree().get()).shifted(how));
  }

  fs::TempDir dir;
  const OwnerShift shift{{{0, 1, 1000}, {1000, 0, 1}}, {{0, 500, 2000}}};
};

TEST_F(OwnerShiftTest, MovesEverythingOnceAndKeepsTheModes) {
  shiftOwners(shift);
  EXPECT_EQ(ownerOf("tree"), "1:500:755");
  EXPECT_EQ(ownerOf("tree/file"), "1:500:644") << "it has two names and is moved once";
  EXPECT_EQ(ownerOf("tree/deep/special"), "0:1501:4755");
  EXPECT_EQ(ownerOf("tree/link").substr(0, 6), "1:500:");
  EXPECT_EQ(ownerOf("tree/pipe"), "1:500:600");
}

TEST_F(OwnerShiftTest, ComesBackByItsInverse) {
  shiftOwners(shift);
  shiftOwners(OwnerShift::parse(shift.text()).inverse());
  EXPECT_EQ(ownerOf("tree"), "0:0:755");
  EXPECT_EQ(ownerOf("tree/deep/special"), "1000:1001:4755");
  EXPECT_EQ(ownerOf("tree/deep/second"), "0:0:644");
}

TEST_F(OwnerShiftTest, KeepsTheCapabilitiesOfFiles) {
  // struct vfs_cap_data of <linux/capability.h>, revision 2: CAP_NET_RAW, effective.
  const std::string rights{"\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 20};
  const Fd file = sys::openat(dir.fd(), "tree/file", O_RDONLY);
  sys::fsetxattr(file.get(), "security.capability", rights);
  shiftOwners(shift);
  EXPECT_EQ(sys::fgetxattr(file.get(), "security.capability"), rights);
}

// As after a kill between any two system calls: some files moved, one without its bits and rights.
TEST_F(OwnerShiftTest, IsCarriedOutAgainAfterItWasBrokenOff) {
  const std::string rights{"\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 20};
  const Fd file = sys::openat(dir.fd(), "tree/file", O_RDONLY);
  sys::fsetxattr(file.get(), "security.capability", rights);
  const std::string before = ownersBelow(tree().get()).text();
  sys::lchownat(dir.fd(), "tree/deep/special", 0, 1501);  // takes 04000 away
  sys::lchownat(dir.fd(), "tree/file", 1, 500);           // and the rights
  sys::lchownat(dir.fd(), "tree/link", 1, 500);
  EXPECT_NE(ownersBelow(tree().get()).text(), before);
  for (int round = 0; round < 2; ++round) {
    setOwners(tree().get(), OwnerPlan::parse(before));
    EXPECT_EQ(ownersBelow(tree().get()).text(), before);
  }
  EXPECT_EQ(ownerOf("tree/deep/special"), "1000:1001:4755");
  EXPECT_EQ(sys::fgetxattr(file.get(), "security.capability"), rights);
}

TEST_F(OwnerShiftTest, MovesNothingWhenOneIdHasNoPlace) {
  make("tree/deep/other", 77777, 0, 0644);
  const std::string before = ownersBelow(tree().get()).text();
  EXPECT_THROW(shiftOwners(shift), Error);
  EXPECT_EQ(ownersBelow(tree().get()).text(), before);
}

TEST_F(OwnerShiftTest, RefusesIdsThatNoRangeHolds) {
  make("tree/other", 77777, 0, 0644);
  const Error error = errorOf([&] { shiftOwners(shift); });
  EXPECT_EQ(error.code(), "idmap");
  EXPECT_NE(error.cause().find("77777"), std::string::npos);
}

TEST(OwnerShifts, CoverWhatLeadsToTheSameIds) {
  const OwnerShift one{{{0, 1001, 1}}, {{0, 1001, 1}}};
  const OwnerShift many{{{0, 1001, 1}, {1, 100000, 65536}}, {{0, 1001, 1}, {1, 100000, 65536}}};
  const OwnerShift more{{{0, 1001, 1}, {1, 100000, 200000}}, {{0, 1001, 1}, {1, 90000, 200000}}};
  const OwnerShift moved{{{0, 1001, 1}, {1, 100001, 65536}}, {{0, 1001, 1}, {1, 100000, 65536}}};
  EXPECT_TRUE(coversIds(many, one));
  EXPECT_TRUE(coversIds(many, many));
  EXPECT_TRUE(coversIds(more, many));
  EXPECT_FALSE(coversIds(one, many));
  EXPECT_FALSE(coversIds(moved, many));
  EXPECT_FALSE(coversIds(many, more));
  const OwnerShift own = ownIdMaps();
  EXPECT_TRUE(coversIds(own, own));
  EXPECT_FALSE(own.uids.empty());
}

TEST(OwnerPlans, ThatAreDamagedAreRefused) {
  for (const char* text :
       {"1 2 3 4\n", "1 2 3 4 -\n5", "1 2 3 x -\n", "1 2 3 4 0\n", "1 2 3 4 zz\n"}) {
    EXPECT_EQ(errorOf([&] { OwnerPlan::parse(text); }).kind(), Kind::corrupt) << text;
  }
}

TEST(OwnerShifts, AreReadBackFromTheirText) {
  const OwnerShift shift{{{0, 1, 1000}, {1000, 0, 1}}, {{0, 500, 2000}}};
  EXPECT_EQ(shift.text(), "0:1:1000,1000:0:1 0:500:2000\n");
  EXPECT_EQ(OwnerShift::parse(shift.text()).uids, shift.uids);
  EXPECT_EQ(OwnerShift::parse(shift.text()).gids, shift.gids);
  for (const char* text : {"", "0:1:1", "0:1 0:1:1", "a b", "0:1:1 0:1:1 0:1:1"}) {
    EXPECT_EQ(errorOf([&] { OwnerShift::parse(text); }).kind(), Kind::corrupt) << text;
  }
}

}  // namespace
}  // namespace img::store
