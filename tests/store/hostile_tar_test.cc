// One hostile archive per rule of security.md 8, unpacked beside a canary folder that nothing may
// touch.
#include <fcntl.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <functional>

#include "base/error.h"
#include "base/fs.h"
#include "base/sys.h"
#include "store/unpack.h"
#include "tests/store/erofs_helpers.h"
#include "tests/store/tar_helpers.h"

namespace img::store {
namespace {

using testing_tar::describeCanary, testing_tar::isRoot, testing_tar::RawTar, testing_tar::readText,
    testing_tar::writeFile;

// box/canary: the outside; box/layer: where the archive goes.
class HostileTar : public testing::Test {
 protected:
  void SetUp() override {
    if (!isRoot()) GTEST_SKIP() << "needs root for owners and devices";
    sys::mkdirat(box_.fd(), "layer", 0755);
    sys::mkdirat(box_.fd(), "canary", 0755);
    writeFile(canary() + "/file", "canary");
    sys::linkat(box_.fd(), "canary/file", box_.fd(), "canary/link", 0);
    before_ = describeCanary(canary());
  }
  void TearDown() override {
    if (before_.empty()) return;
    EXPECT_EQ(describeCanary(canary()), before_) << "something outside was touched";
    EXPECT_EQ(fs::list(box_.fd()).size(), 2U) << "something appeared outside";
  }
  std::string canary() const { return box_.path() + "/canary"; }
  std::string at(const std::string& path) const { return box_.path() + "/layer/" + path; }
  bool exists(const std::string& path) const {
    return sys::tryFstatat(AT_FDCWD, at(path)).has_value();
  }
  mode_t typeOf(const std::string& path) const {
    return sys::fstatat(AT_FDCWD, at(path)).st_mode & S_IFMT;
  }

  UnpackStats unpack(const std::string& tar) {
    return testing_erofs::unpackBothWays(tar, sys::openDirectory(box_.fd(), "layer").get());
  }
  void expectRefused(const std::string& tar, std::string_view message) {
    try {
      unpack(tar);
      FAIL() << "unpacked";
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), Kind::corrupt) << error.cause();
      EXPECT_NE(error.cause().find(message), std::string::npos) << error.cause();
    }
  }

  fs::TempDir box_;
  std::string before_;
};

// T1
TEST_F(HostileTar, NamesWithDotDotAreRefused) {
  for (const char* name :
       {"../canary/file", "a/../../canary/file", "/../canary/file", "..", "a/.."}) {
    expectRefused(RawTar{}.file(name).end(), "\"..\"");
  }
}
TEST_F(HostileTar, AbsoluteNamesStayInside) {
  unpack(RawTar{}.file(canary() + "/file", "evil").end());
  EXPECT_EQ(readText(at(canary().substr(1) + "/file")), "evil");
}
TEST_F(HostileTar, OverlongComponentsAreRefused) {
  expectRefused(RawTar{}.pax({{"path", std::string(256, 'n')}}).file("a").end(), "255");
}
TEST_F(HostileTar, TheNameOfAMessageIsEscaped) {
  try {
    unpack(RawTar{}.file("\x1b[2J/..").end());
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.cause().find('\x1b'), std::string::npos);
  }
}

// T2
TEST_F(HostileTar, AParentLinkOutOfTheLayerStaysInside) {
  unpack(RawTar{}.symlink("out", "../canary").file("out/file", "evil").end());
  EXPECT_EQ(readText(at("canary/file")), "evil");
}
TEST_F(HostileTar, AnAbsoluteParentLinkStaysInside) {
  unpack(RawTar{}.symlink("out", canary()).file("out/file", "evil").end());
  EXPECT_EQ(readText(at(canary().substr(1) + "/file")), "evil");
}
TEST_F(HostileTar, ChainsOfParentLinksStayInside) {
  unpack(RawTar{}
             .folder("d")
             .symlink("d/up", "..")
             .symlink("a", "d/up/../../../canary")
             .file("a/file", "evil")
             .end());
  EXPECT_EQ(readText(at("canary/file")), "evil");
}
TEST_F(HostileTar, ALoopOfParentLinksIsRefused) {
  expectRefused(RawTar{}.symlink("a", "b").symlink("b", "a").file("a/x").end(), "loop");
}
TEST_F(HostileTar, AParentThatIsAFileBecomesAFolder) {
  unpack(RawTar{}.file("a", "1").file("a/b", "2").end());
  EXPECT_EQ(readText(at("a/b")), "2");
}
TEST_F(HostileTar, MissingParentsBelongToRoot) {
  unpack(RawTar{}.add({.name = "a/b/c", .uid = 5}).end());
  const struct stat st = sys::fstatat(AT_FDCWD, at("a/b"));
  EXPECT_EQ(st.st_mode, S_IFDIR | 0755U);
  EXPECT_EQ(st.st_uid, 0U);
  EXPECT_EQ(st.st_mtim.tv_sec, 0) << "the clock must not show";
}

// T3
TEST_F(HostileTar, TheRootMayOnlyBeAFolder) {
  for (const char* name : {".", "./", "/.", "/"}) {
    expectRefused(RawTar{}.symlink(name, canary()).end(), "root must be a folder");
    expectRefused(RawTar{}.hardLink(name, "x").end(), "root must be a folder");
  }
  unpack(RawTar{}.add({.name = "./", .type = '5', .mode = 0711, .uid = 7}).end());
  const struct stat st = sys::fstatat(AT_FDCWD, at("."));
  EXPECT_EQ(st.st_mode & 07777, 0711U);
  EXPECT_EQ(st.st_uid, 7U);
}

// T4
TEST_F(HostileTar, HardLinksToTheOutsideAreRefused) {
  expectRefused(RawTar{}.hardLink("l", "../canary/file").end(), "\"..\"");
  expectRefused(RawTar{}.hardLink("l", canary() + "/file").end(), "does not exist");
  expectRefused(RawTar{}.symlink("s", canary()).hardLink("l", "s/file").end(), "does not exist");
}
TEST_F(HostileTar, AHardLinkToALinkIsTheLinkItself) {
  unpack(RawTar{}.symlink("s", canary() + "/file").hardLink("l", "s").end());
  EXPECT_EQ(typeOf("l"), mode_t{S_IFLNK});
}
TEST_F(HostileTar, WritingAfterALinkDoesNotGoThroughIt) {
  unpack(RawTar{}.symlink("s", canary() + "/file").hardLink("l", "s").file("l", "evil").end());
  EXPECT_EQ(readText(at("l")), "evil");
}
TEST_F(HostileTar, HardLinksToFoldersAndDeletionsAreRefused) {
  expectRefused(RawTar{}.folder("d").hardLink("l", "d").end(), "folder");
  expectRefused(RawTar{}.hardLink("l", ".").end(), "folder");
  expectRefused(RawTar{}.file(".wh.gone", "").hardLink("l", "gone").end(), "does not exist");
}
TEST_F(HostileTar, AHardLinkToItselfChangesNothing) {
  unpack(RawTar{}.file("a", "1").hardLink("a", "a").end());
  EXPECT_EQ(readText(at("a")), "1");
}

// T5
TEST_F(HostileTar, WhiteoutsOfTheFolderOrItsParentAreRefused) {
  for (const char* name : {".wh.", ".wh..", ".wh...", "d/.wh..."}) {
    expectRefused(RawTar{}.file(name, "").end(), "whiteout");
  }
}
TEST_F(HostileTar, WhiteoutsWithChildrenAreRefused) {
  expectRefused(RawTar{}.file(".wh.a/b", "").end(), "inside");
  expectRefused(RawTar{}.file(".wh..wh..opq/b", "").end(), "inside");
}
TEST_F(HostileTar, MetadataOfAufsIsIgnored) {
  unpack(RawTar{}
             .folder(".wh..wh.plnk")
             .file(".wh..wh.plnk/1.2")
             .file(".wh..wh.aufs")
             .file("a")
             .end());
  EXPECT_EQ(fs::list(sys::openDirectory(AT_FDCWD, at(".")).get()).size(), 1U);
}
TEST_F(HostileTar, WhiteoutsOfAnyTypeHoldNoData) {
  unpack(RawTar{}.symlink(".wh.a", canary()).file(".wh.b", "content").folder(".wh.c").end());
  for (const char* name : {"a", "b", "c"}) EXPECT_EQ(typeOf(name), mode_t{S_IFCHR}) << name;
}
TEST_F(HostileTar, AWhiteoutThroughALinkStaysInside) {
  unpack(RawTar{}.symlink("out", canary()).file("out/.wh.file", "").end());
  EXPECT_TRUE(exists(canary().substr(1) + "/file"));
}

// T6
TEST_F(HostileTar, ADeviceThatIsAWhiteoutIsRefused) {
  expectRefused(RawTar{}.add({.name = "shadow", .type = '3'}).end(), "0:0");
}
TEST_F(HostileTar, DevicesAndFifosAreNeverOpened) {
  unpack(RawTar{}
             .add({.name = "f", .type = '6'})
             .add({.name = "f", .type = '6', .mode = 0600})
             .file("f", "a file now")
             .add({.name = "n", .type = '3', .devMajor = 1, .devMinor = 3})
             .file("n", "not into the device")
             .end());
  EXPECT_EQ(readText(at("f")), "a file now");
  EXPECT_EQ(readText(at("n")), "not into the device");
}

// T8
TEST_F(HostileTar, OverlayAttributesAreNotSet) {
  unpack(RawTar{}
             .pax({{"SCHILY.xattr.trusted.overlay.opaque", "y"},
                   {"SCHILY.xattr.trusted.overlay.redirect", "/etc"},
                   {"SCHILY.xattr.user.overlay.opaque", "y"},
                   {"SCHILY.xattr.security.selinux", "x"},
                   {"SCHILY.xattr.user.kept", "k"}})
             .folder("d")
             .end());
  EXPECT_EQ(sys::flistxattr(sys::openDirectory(AT_FDCWD, at("d")).get()),
            std::vector<std::string>{"user.kept"});
}

// T9, L1
TEST_F(HostileTar, AHugeSparseFileMeetsTheLimit) {
  const std::string tar = RawTar{}
                              .pax({{"GNU.sparse.major", "1"},
                                    {"GNU.sparse.minor", "0"},
                                    {"GNU.sparse.realsize", "8796093022208"},
                                    {"GNU.sparse.name", "huge"}})
                              .file("x", "1\n8796093022208\n0\n" + std::string(512 - 18, '\0'))
                              .end();
  try {
    unpack(tar);
    FAIL() << "unpacked";
  } catch (const Error& error) {
    EXPECT_NE(error.hints().at(0).find("IMG_LIMIT_LAYER_BYTES"), std::string::npos);
  }
  EXPECT_FALSE(exists("huge"));
}
TEST_F(HostileTar, TooManyEntriesMeetTheLimit) {
  ::setenv("IMG_LIMIT_LAYER_ENTRIES", "2", 1);
  EXPECT_NO_THROW(unpack(RawTar{}.file("a").file("b").end()));
  EXPECT_THROW(unpack(RawTar{}.file("a").file("b").file("c").end()), Error);
  ::setenv("IMG_LIMIT_LAYER_ENTRIES", "0", 1);
  EXPECT_NO_THROW(unpack(RawTar{}.file("a").file("b").file("c").end()));
  ::unsetenv("IMG_LIMIT_LAYER_ENTRIES");
}

// T10
TEST_F(HostileTar, TheLastOfTwoNamesWins) {
  unpack(RawTar{}.file("a", "first").hardLink("b", "a").file("a", "second").end());
  EXPECT_EQ(readText(at("a")), "second");
  EXPECT_EQ(readText(at("b")), "first") << "written through the other name";
}
TEST_F(HostileTar, ATypeReplacesAnother) {
  unpack(RawTar{}.folder("d").file("d/x").file("d", "file").end());
  EXPECT_EQ(readText(at("d")), "file");
  unpack(RawTar{}
             .file("e", "x")
             .folder("e")
             .file("e/y", "z")
             .symlink("d", canary())
             .file("d", "again")
             .end());
  EXPECT_EQ(readText(at("e/y")), "z");
  EXPECT_EQ(readText(at("d")), "again");
}
TEST_F(HostileTar, AFolderTwiceKeepsItsContent) {
  unpack(RawTar{}.folder("d").file("d/x").add({.name = "d", .type = '5', .mode = 0700}).end());
  EXPECT_TRUE(exists("d/x"));
  EXPECT_EQ(sys::fstatat(AT_FDCWD, at("d")).st_mode & 07777, 0700U);
}
TEST_F(HostileTar, AReplacedTreeIsNotFollowedOut) {
  unpack(RawTar{}.folder("d").symlink("d/out", canary()).file("d", "file").end());
  EXPECT_EQ(typeOf("d"), mode_t{S_IFREG});
}

// T11, T12
TEST_F(HostileTar, ModesAndOwnersOfLinksStayOnTheLink) {
  unpack(RawTar{}
             .add({.name = "l", .type = '2', .link = canary() + "/file", .mode = 04777, .uid = 9})
             .end());
  EXPECT_EQ(sys::fstatat(AT_FDCWD, at("l")).st_uid, 9U);
}
TEST_F(HostileTar, AnIdThatMeansKeepIsRefused) {
  expectRefused(RawTar{}.pax({{"gid", "4294967295"}}).file("a").end(), "gid");
}
TEST_F(HostileTar, FarTimesAreTakenAsFarAsTheFileSystemGoes) {
  unpack(RawTar{}
             .pax({{"mtime", "99999999999999"}})
             .file("a")
             .pax({{"mtime", "-99999999999999"}})
             .file("b")
             .end());
  EXPECT_GT(sys::fstatat(AT_FDCWD, at("a")).st_mtim.tv_sec, 1000000000);
}

// T13
TEST_F(HostileTar, ATruncatedArchiveIsRefused) {
  const std::string tar = RawTar{}.file("a", std::string(100000, 'x')).end();
  for (const size_t size : {size_t{1}, size_t{511}, size_t{513}, size_t{50000}, size_t{100400}}) {
    EXPECT_THROW(unpack(tar.substr(0, size)), Error) << size;
  }
}
TEST_F(HostileTar, BytesBehindTheEndAreRefused) {
  expectRefused(RawTar{}.file("a").end() + RawTar{}.file("hidden").end(), "behind the end");
}

// --- The same for ADD ---

class HostileAddArchive : public HostileTar {
 protected:
  void refuse(const std::string& tar) {
    StringSource source{tar};
    EXPECT_THROW(
        unpackArchive(source, sys::openDirectory(box_.fd(), "layer").get(), "dest", {}, "test"),
        Error);
  }
};

TEST_F(HostileAddArchive, NothingLeavesTheDestination) {
  sys::mkdirat(AT_FDCWD, at("dest"), 0755);
  writeFile(at("outside"), "o");
  const std::string before = describeCanary(at("outside").substr(0, at("").size()) + "dest");
  refuse(RawTar{}.file("../outside", "evil").end());
  refuse(RawTar{}.symlink("l", "../outside").end());
  refuse(RawTar{}.folder("a").symlink("a/l", "../../outside").end());
  refuse(RawTar{}.hardLink("l", "../outside").end());
  refuse(RawTar{}.hardLink("l", "/outside").end());
  refuse(RawTar{}.add({.name = "n", .type = '3'}).end());
  refuse(RawTar{}.file(".wh.x", "").end());
  refuse(RawTar{}.file("a/.wh..wh..opq", "").end());
  EXPECT_EQ(readText(at("outside")), "o");
}

TEST_F(HostileAddArchive, LinksOfTheRootFileSystemAreFollowedInsideIt) {
  sys::mkdirat(AT_FDCWD, at("dest"), 0755);
  sys::symlinkat(canary(), AT_FDCWD, at("dest/out"));
  refuse(RawTar{}.file("out/file", "evil").end());  // dangling inside the root
  sys::mkdirat(AT_FDCWD, at("target"), 0755);
  sys::symlinkat("/target", AT_FDCWD, at("dest/in"));
  StringSource source{RawTar{}.file("in/file", "ok").end()};
  unpackArchive(source, sys::openDirectory(box_.fd(), "layer").get(), "dest", {}, "test");
  EXPECT_EQ(readText(at("target/file")), "ok");
}

}  // namespace
}  // namespace img::store
