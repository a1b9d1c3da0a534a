// How layers are named to the kernel, and which of them an opaque root hides (overlay.cc).
#include <unistd.h>

#include "store/overlay.h"
#include "tests/store/store_fixture.h"

namespace img::store {
namespace {

class OverlayLowers : public testing::Test {
 protected:
  void SetUp() override {
    if (!test::isRoot()) GTEST_SKIP() << "mounting needs root";
  }
  [[nodiscard]] Fd open(const std::string& path, int flags) const {
    return sys::openat(dir.fd(), path, flags);
  }
  static bool has(const Fd& root, const std::string& path) {
    return sys::tryOpenInRoot(root.get(), path, O_PATH | O_NOFOLLOW).has_value();
  }

  fs::TempDir dir;
};

TEST_F(OverlayLowers, AreNamedFromAFolderThatIsGoneToo) {
  const std::string before = sys::readlinkat(AT_FDCWD, "/proc/self/cwd");
  const Fd top = fs::makeDirs(dir.fd(), "top");
  const Fd bottom = fs::makeDirs(dir.fd(), "bottom");
  fs::makeDirs(top.get(), "file").reset();
  sys::fchdir(fs::makeDirs(dir.fd(), "gone").get());
  sys::unlinkat(dir.fd(), "gone", AT_REMOVEDIR);
  const Fd root = mountOverlay({.lowers = {top.get(), bottom.get()}});
  const std::string after = sys::readlinkat(AT_FDCWD, "/proc/self/cwd");
  ASSERT_EQ(::chdir(before.c_str()), 0);
  EXPECT_TRUE(has(root, "file"));
  EXPECT_EQ(after, dir.path() + "/gone (deleted)");
}

struct Mark {
  const char* name;
  const char* attribute;
  const char* value;
  bool hasManyNames, isPathOnly, hides;
};
void PrintTo(const Mark& mark, std::ostream* out) {
  *out << mark.name;
}
class OpaqueRoot : public OverlayLowers, public testing::WithParamInterface<Mark> {};

TEST_P(OpaqueRoot, HidesWhatItsMarkSays) {
  const Mark& mark = GetParam();
  const Fd top = fs::makeDirs(dir.fd(), "top");
  const Fd bottom = fs::makeDirs(dir.fd(), "bottom");
  fs::makeDirs(bottom.get(), "below").reset();
  const Fd folder = open("top", O_RDONLY | O_DIRECTORY);
  for (int i = 0; mark.hasManyNames && i < 10; ++i)
    sys::fsetxattr(folder.get(), "user." + std::string(50, 'n') + std::to_string(i), "x");
  if (mark.attribute != nullptr) sys::fsetxattr(folder.get(), mark.attribute, mark.value);
  const Fd path = open("top", O_PATH | O_DIRECTORY);
  const int lower = mark.isPathOnly ? path.get() : folder.get();
  const Fd root = mountOverlay({.lowers = {lower, bottom.get()}});
  EXPECT_EQ(has(root, "below"), !mark.hides);
}

INSTANTIATE_TEST_SUITE_P(
    Marks, OpaqueRoot,
    testing::Values(Mark{"None", nullptr, "", false, false, false},
                    Mark{"Trusted", "trusted.overlay.opaque", "y", false, false, true},
                    Mark{"User", "user.overlay.opaque", "y", false, false, true},
                    Mark{"XattrWhiteouts", "trusted.overlay.opaque", "x", false, false, false},
                    Mark{"AnotherName", "user.not.overlay.opaque", "y", false, false, false},
                    Mark{"ManyNames", nullptr, "", true, false, false},
                    Mark{"ManyNamesAndUser", "user.overlay.opaque", "y", true, false, true},
                    Mark{"ByPathNone", nullptr, "", false, true, false},
                    Mark{"ByPathTrusted", "trusted.overlay.opaque", "y", false, true, true}),
    [](const testing::TestParamInfo<Mark>& test) { return std::string{test.param.name}; });

}  // namespace
}  // namespace img::store
