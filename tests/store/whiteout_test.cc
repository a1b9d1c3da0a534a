#include "store/whiteout.h"

#include <gtest/gtest.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

#include "base/fs.h"
#include "base/sys.h"
#include "store/xattrs.h"
#include "tests/store/tar_helpers.h"

namespace img::store {
namespace {

struct Case {
  std::string_view component;
  WhiteoutKind kind;
};
void PrintTo(const Case& c, std::ostream* out) {
  *out << c.component;
}

class WhiteoutNames : public testing::TestWithParam<Case> {};
TEST_P(WhiteoutNames, AreToldApart) {
  EXPECT_EQ(whiteoutKind(GetParam().component), GetParam().kind);
}

constexpr Case kCases[] = {
    {"file", WhiteoutKind::none},
    {".wh", WhiteoutKind::none},
    {"a.wh.b", WhiteoutKind::none},
    {".wh.file", WhiteoutKind::name},
    {".wh..hidden", WhiteoutKind::name},
    {".wh.....", WhiteoutKind::name},
    {".wh..wh..opq", WhiteoutKind::opaque},
    {".wh..wh.plnk", WhiteoutKind::metadata},
    {".wh..wh.aufs", WhiteoutKind::metadata},
    {".wh..wh.", WhiteoutKind::metadata},
    {".wh.", WhiteoutKind::invalid},
    {".wh..", WhiteoutKind::invalid},
    {".wh...", WhiteoutKind::invalid},
};
INSTANTIATE_TEST_SUITE_P(Names, WhiteoutNames, testing::ValuesIn(kCases));

TEST(Whiteout, IsADeviceThatTheKernelTakesForOne) {
  const fs::TempDir dir;
  makeWhiteout(dir.fd(), "gone");
  EXPECT_TRUE(isWhiteoutDevice(sys::fstatat(dir.fd(), "gone")));
  EXPECT_FALSE(isWhiteoutDevice(sys::fstat(dir.fd())));
}

TEST(Whiteout, OpaqueMarksAreReadBack) {
  const fs::TempDir dir;
  EXPECT_EQ(opaqueMark(dir.fd()), OpaqueMark::none);
  markOpaque(dir.fd());
  EXPECT_EQ(opaqueMark(dir.fd()), OpaqueMark::opaque);
}

TEST(Whiteout, UnderstandsTheUserForm) {
  const fs::TempDir dir;
  if (::fsetxattr(dir.fd(), "user.overlay.opaque", "x", 1, 0) != 0)
    GTEST_SKIP() << "no user attributes here";
  EXPECT_EQ(opaqueMark(dir.fd()), OpaqueMark::hasXattrWhiteouts);
}

struct XattrCase {
  std::string name, value;
  XattrVerdict verdict;
};
void PrintTo(const XattrCase& c, std::ostream* out) {
  *out << c.name;
}

class XattrRules : public testing::TestWithParam<XattrCase> {};
TEST_P(XattrRules, DecideWhatTravels) {
  EXPECT_EQ(judgeXattr(GetParam().name, GetParam().value), GetParam().verdict);
}

const std::string kAcl{"\2\0\0\0\1\0\6\0\xff\xff\xff\xff", 12};
INSTANTIATE_TEST_SUITE_P(
    T8, XattrRules,
    testing::Values(
        XattrCase{"user.note", "x", XattrVerdict::keep},
        XattrCase{"user.", "x", XattrVerdict::drop},
        XattrCase{"user.overlay.opaque", "y", XattrVerdict::dropAndWarn},
        XattrCase{"trusted.overlay.redirect", "/etc", XattrVerdict::dropAndWarn},
        XattrCase{"trusted.md5", "x", XattrVerdict::dropAndWarn},
        XattrCase{"security.selinux", "x", XattrVerdict::drop},
        XattrCase{"security.ima", "x", XattrVerdict::drop},
        XattrCase{"nonsense", "x", XattrVerdict::drop},
        XattrCase{"security.capability", std::string{"\0\0\0\2", 4} + std::string(16, '\0'),
                  XattrVerdict::keep},
        XattrCase{"security.capability", std::string{"\0\0\0\3", 4} + std::string(20, '\0'),
                  XattrVerdict::keep},
        XattrCase{"security.capability", std::string{"\0\0\0\3", 4} + std::string(16, '\0'),
                  XattrVerdict::dropAndWarn},
        XattrCase{"security.capability", "short", XattrVerdict::dropAndWarn},
        XattrCase{"system.posix_acl_access", kAcl, XattrVerdict::keep},
        XattrCase{"system.posix_acl_default", kAcl, XattrVerdict::keep},
        XattrCase{"system.posix_acl_access", kAcl + "x", XattrVerdict::dropAndWarn},
        XattrCase{"system.posix_acl_access", std::string{"\2\0\0\0\3\0\6\0\0\0\0\0", 12},
                  XattrVerdict::dropAndWarn}));

TEST(Xattrs, OfAnEntryAreLimited) {
  Xattrs many;
  for (int i = 0; i < 129; ++i) many["user." + std::to_string(i)] = "x";
  EXPECT_THROW(keptXattrs(many, "test"), Error);
  EXPECT_THROW(keptXattrs({{"user." + std::string(251, 'n'), "x"}}, "test"), Error);
  EXPECT_THROW(keptXattrs({{"user.x", std::string(65537, 'v')}}, "test"), Error);
  EXPECT_EQ(keptXattrs({{"user.x", std::string(65536, 'v')}, {"trusted.x", ""}}, "test").size(),
            1U);
}

}  // namespace
}  // namespace img::store
