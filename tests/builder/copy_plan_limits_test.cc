// What a copy refuses, planned or not, and what a plan leaves to the disk.
#include "tests/builder/copy_plan_support.h"

namespace img::builder::copies {
namespace {

class CopyPlanLimits : public testing::Test {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "needs root: mounts, owners and devices";
  }
  // Both ways must refuse in the same words.
  std::string errorOf(const Work& work) {
    const auto cause = [&](auto&& way) -> std::string {
      try {
        way(world_, work);
      } catch (const Error& error) {
        return error.cause();
      }
      return "no error";
    };
    const std::string ours = cause(planned);
    EXPECT_EQ(ours, cause(onDisk));
    return ours;
  }
  World world_;
};

TEST_F(CopyPlanLimits, AFolderInPlaceOfAFileIsRefused) {
  world_.put("from/d/x/f", "1");
  world_.put("lower/dst/x", "a file");
  EXPECT_EQ(errorOf(copying("d", "/dst")), "/dst/x exists and is not a directory (it is a file)");
}

TEST_F(CopyPlanLimits, AFileInPlaceOfAFolderIsRefused) {
  world_.put("from/d/x", "1");
  world_.put("lower/dst/x/f", "1");
  EXPECT_EQ(errorOf(copying("d", "/dst")), "/dst/x exists and is a directory");
}

TEST_F(CopyPlanLimits, AFileOnTheWayIsRefused) {
  world_.put("from/f", "1");
  world_.put("lower/a", "1");
  EXPECT_EQ(errorOf(copying("f", "/a/b/")), "/a exists and is not a directory (it is a file)");
}

TEST_F(CopyPlanLimits, ManyFilesForOnePlaceAreRefused) {
  world_.put("from/a", "1");
  world_.put("from/b", "1");
  const Work both = [](TreeCopier& copier, const World& world) {
    copyOne(copier, world, "a", "/x/one");
    copyOne(copier, world, "b", "/x/one");
  };
  EXPECT_EQ(errorOf(both), "2 files would be written to /x/one; end it with \"/\"");
}

TEST_F(CopyPlanLimits, ANameThatWouldDeleteIsRefused) {
  world_.put("from/d/.wh.f", "1");
  EXPECT_EQ(errorOf(copying("d", "/x")),
            "a layer cannot hold \"x/.wh.f\": names that begin with \".wh.\" mean deletion");
}

TEST_F(CopyPlanLimits, AnAclBelowIsLeftToTheDisk) {
  world_.put("from/f", "1");
  world_.put("lower/x/f", "1");
  // Version 2, then user::rwx, group::r-x, other::r-x: linux/posix_acl_xattr.h.
  const std::string acl{
      "\2\0\0\0\1\0\7\0\xff\xff\xff\xff\4\0\5\0\xff\xff\xff\xff\x20\0\5\0\xff\xff\xff\xff", 28};
  addXattr(world_, "lower/x", "system.posix_acl_default", acl);
  EXPECT_THROW(planned(world_, copying("f", "/x/")), store::CannotPlan);
}

TEST_F(CopyPlanLimits, ADeviceThatWouldDeleteIsLeftToTheDisk) {
  world_.options.isContext = false;
  fs::makeDirs(world_.temp.fd(), "from/d");
  sys::mknodat(world_.temp.fd(), "from/d/w", S_IFCHR | 0600, 0);
  EXPECT_THROW(planned(world_, copying("d", "/x")), store::CannotPlan);
}

// What happens between the plan and the tar.
std::string errorAfter(const World& world, const std::function<void()>& change) {
  const Work work = [&](TreeCopier& copier, const World& from) {
    copyOne(copier, from, "d", "/x");
    change();
  };
  try {
    planned(world, work);
  } catch (const Error& error) {
    return error.cause();
  }
  return "no error";
}

TEST_F(CopyPlanLimits, AFileThatIsAnotherOneMeanwhileIsNotRead) {
  world_.put("from/d/f", "1");
  EXPECT_EQ(errorAfter(world_, [&] { world_.put("from/d/f", "22"); }),
            "file \"x/f\" changed while it was read");
  EXPECT_EQ(errorAfter(world_,
                       [&] {
                         sys::unlinkat(world_.from.get(), "d/f", 0);
                         sys::mknodat(world_.from.get(), "d/f", S_IFIFO | 0600, 0);
                       }),
            "file \"x/f\" changed while it was read");
}

TEST_F(CopyPlanLimits, AFileThatIsGoneMeanwhileHasChanged) {
  const std::string changed = "file \"x/s/f\" changed while it was read";
  const int from = world_.from.get();
  world_.put("from/d/s/f", "1");
  EXPECT_EQ(errorAfter(world_, [&] { sys::unlinkat(from, "d/s/f", 0); }), changed);
  world_.put("from/d/s/f", "1");
  EXPECT_EQ(errorAfter(world_,
                       [&] {
                         sys::unlinkat(from, "d/s/f", 0);
                         sys::symlinkat("elsewhere", from, "d/s/f");
                       }),
            changed);
  sys::unlinkat(from, "d/s/f", 0);
  world_.put("from/d/s/f", "1");
  EXPECT_EQ(errorAfter(world_, [&] { sys::renameat(from, "d/s", from, "away"); }), changed);
}

TEST_F(CopyPlanLimits, AFolderThatIsALinkMeanwhileIsNotEntered) {
  world_.put("from/d/sub/f", "1");
  world_.put("from/e/f", "1");
  const std::string error = errorAfter(world_, [&] {
    sys::renameat(world_.from.get(), "d/sub", world_.from.get(), "away");
    sys::symlinkat("../e", world_.from.get(), "d/sub");
  });
  EXPECT_NE(error.find("sub"), std::string::npos) << error;
}

TEST_F(CopyPlanLimits, APlanThatIsMadeHoldsNoFoldersBelow) {
  const auto count = [] {
    return fs::list(sys::openDirectory(AT_FDCWD, "/proc/self/fd").get()).size();
  };
  world_.put("from/f", "1");
  world_.put("lower/a/b/c/d/old", "1");
  const Fd lower = world_.folder("lower");
  const size_t before = count();
  store::PlannedLayer layer{{lower.get()}};
  PlanDestination to{layer};
  TreeCopier copier{to, world_.options};
  copyOne(copier, world_, "f", "/a/b/c/d/");
  EXPECT_EQ(count(), before + 4);  // the root and those above the last one
  layer.closeFolders();
  EXPECT_EQ(count(), before);
}

TEST_F(CopyPlanLimits, APlanOfManyFilesHoldsNoDescriptors) {
  const auto count = [] {
    return fs::list(sys::openDirectory(AT_FDCWD, "/proc/self/fd").get()).size();
  };
  for (int i = 0; i < 300; ++i) world_.put(fmt::format("from/d/{}/{}", i, i), "1");
  const size_t before = count();
  store::PlannedLayer layer{{}};
  PlanDestination to{layer};
  TreeCopier copier{to, world_.options};
  copyOne(copier, world_, "d", "/x");
  EXPECT_LE(count(), before + 1);
}

}  // namespace
}  // namespace img::builder::copies
