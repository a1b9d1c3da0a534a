#include "store/unpack.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fs.h"
#include "base/sys.h"
#include "store/seal.h"
#include "store/whiteout.h"
#include "tests/store/erofs_helpers.h"
#include "tests/store/tar_helpers.h"

namespace img::store {
namespace {

using testing_tar::describeTree, testing_tar::isRoot, testing_tar::RawTar, testing_tar::readText,
    testing_tar::setTime, testing_tar::Tree, testing_tar::writeFile;

class UnpackTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!isRoot()) GTEST_SKIP() << "needs root for owners and devices";
  }
  std::string at(const std::string& path) const { return dir_.path() + "/" + path; }
  struct stat statOf(const std::string& path) const {
    return sys::fstatat(AT_FDCWD, at(path));
  }
  bool isWhiteout(const std::string& path) const { return isWhiteoutDevice(statOf(path)); }
  bool isOpaque(const std::string& path) const {
    return opaqueMark(sys::openDirectory(AT_FDCWD, at(path)).get()) == OpaqueMark::opaque;
  }
  UnpackStats unpack(const std::string& tar) {
    return testing_erofs::unpackBothWays(tar, dir_.fd());
  }
  UnpackStats add(const std::string& tar, const ArchiveOptions& options = {},
                  const std::string& folder = "/dest/") {
    StringSource source{tar};
    return unpackArchive(source, dir_.fd(), folder, options, "test");
  }
  fs::TempDir dir_;
};

// --- Layers ---

TEST_F(UnpackTest, CountsEntriesAndBytes) {
  const UnpackStats stats =
      unpack(RawTar{}.folder("d").file("d/a", "12345").file("d/b", "123").end());
  EXPECT_EQ(stats.entries, 3U);
  EXPECT_EQ(stats.bytes, 8U);
}

TEST_F(UnpackTest, SetsTimesOfFoldersAfterTheirContent) {
  unpack(RawTar{}
             .add({.name = "d/", .type = '5', .mtime = 777})
             .file("d/a")
             .file("b")
             .folder("d/e")
             .end());
  EXPECT_EQ(statOf("d").st_mtim.tv_sec, 777);
}

TEST_F(UnpackTest, AFolderAfterItsContentStillCounts) {
  unpack(RawTar{}
             .file("d/a")
             .add({.name = "d", .type = '5', .mode = 0711, .uid = 3, .mtime = 778})
             .file("d/b")
             .end());
  EXPECT_EQ(statOf("d").st_mode & 07777, 0711U);
  EXPECT_EQ(statOf("d").st_uid, 3U);
  EXPECT_EQ(statOf("d").st_mtim.tv_sec, 778);
}

TEST_F(UnpackTest, TheUmaskDoesNotShow) {
  const mode_t old = ::umask(077);
  unpack(RawTar{}
             .add({.name = "f", .mode = 0666})
             .add({.name = "d/", .type = '5', .mode = 0777})
             .add({.name = "p", .type = '6', .mode = 0666})
             .file("made/x")
             .end());
  ::umask(old);
  EXPECT_EQ(statOf("f").st_mode & 07777, 0666U);
  EXPECT_EQ(statOf("d").st_mode & 07777, 0777U);
  EXPECT_EQ(statOf("p").st_mode & 07777, 0666U);
  EXPECT_EQ(statOf("made").st_mode & 07777, 0755U);
}

TEST_F(UnpackTest, SetuidSurvivesTheChangeOfOwner) {
  unpack(RawTar{}.add({.name = "s", .mode = 06755, .uid = 5, .gid = 6}).end());
  EXPECT_EQ(statOf("s").st_mode & 07777, 06755U);
  EXPECT_EQ(statOf("s").st_gid, 6U);
}

TEST_F(UnpackTest, AGroupIsNotInherited) {
  unpack(RawTar{}
             .add({.name = "d/", .type = '5', .mode = 02755, .gid = 50})
             .file("d/f")
             .folder("d/e")
             .end());
  EXPECT_EQ(statOf("d/f").st_gid, 0U);
  EXPECT_EQ(statOf("d/e").st_gid, 0U);
  EXPECT_EQ(statOf("d/e").st_mode & 07777, 0755U);
}

TEST_F(UnpackTest, WhiteoutsTakeTheirOverlayForm) {
  unpack(RawTar{}.file(".wh.gone", "").folder("d").file("d/.wh..wh..opq", "").file("d/new").end());
  EXPECT_TRUE(isWhiteout("gone"));
  EXPECT_TRUE(isOpaque("d"));
  EXPECT_EQ(readText(at("d/new")), "x");
}

TEST_F(UnpackTest, AWhiteoutOfSomethingTheLayerHasHidesOnlyWhatIsBelow) {
  // Whatever the order, it speaks about lower layers: a folder becomes opaque, a file hides them
  // anyway.
  unpack(RawTar{}.folder("a").file("a/x").file(".wh.a", "").file("f").file(".wh.f", "").end());
  EXPECT_TRUE(isOpaque("a"));
  EXPECT_EQ(readText(at("a/x")), "x");
  EXPECT_EQ(readText(at("f")), "x");
  unpack(RawTar{}
             .file(".wh.b", "")
             .folder("b")
             .file(".wh.c", "")
             .file("c")
             .file(".wh.e", "")
             .file("e/x")
             .end());
  EXPECT_TRUE(isOpaque("b"));
  EXPECT_EQ(readText(at("c")), "x");
  EXPECT_TRUE(isOpaque("e"));
}

TEST_F(UnpackTest, AParentLinkIsFollowedToWhereItWouldBe) {
  // bin -> usr/bin of a layer whose usr/bin lies in a layer below.
  unpack(RawTar{}.symlink("bin", "usr/bin").file("bin/sh").end());
  EXPECT_EQ(readText(at("usr/bin/sh")), "x");
}

TEST_F(UnpackTest, SetsXattrsAndCapabilities) {
  const std::string capability = std::string("\1\0\0\2\0\x20", 6) + std::string(14, '\0');
  unpack(RawTar{}
             .pax({{"SCHILY.xattr.user.x", std::string("a\0b", 3)},
                   {"SCHILY.xattr.security.capability", capability}})
             .add({.name = "ping", .uid = 5})
             .end());
  const Fd file = sys::openat(AT_FDCWD, at("ping"), O_RDONLY);
  EXPECT_EQ(sys::fgetxattr(file.get(), "user.x"), std::string("a\0b", 3));
  EXPECT_EQ(sys::fgetxattr(file.get(), "security.capability"), capability);
}

TEST_F(UnpackTest, TellsItsLayerInTheError) {
  try {
    unpack("not a tar at all");
    FAIL();
  } catch (const Error& error) {
    EXPECT_TRUE(error.cause().starts_with("test: ")) << error.cause();
  }
}

// What issue 2 asks of whiteouts: lower tree, change it through a real overlay, seal, unpack, mount
// again.
class OverlayRoundTrip : public UnpackTest {
 protected:
  void SetUp() override {
    UnpackTest::SetUp();
    if (IsSkipped()) return;
    for (const char* name : {"lower", "upper", "work", "merged", "layer", "again"}) {
      sys::mkdirat(dir_.fd(), name, 0755);
    }
    for (const char* name : {"lower/dir", "lower/deep", "lower/deep/er", "lower/recreated"}) {
      sys::mkdirat(dir_.fd(), name, 0755);
    }
    for (const char* name : {"file", "dir/a", "dir/b", "deep/er/x", "recreated/old", "kept"}) {
      writeFile(at(std::string{"lower/"} + name), name);
    }
    mountedMerged_ = tryMount("lower", "merged", true);
    if (!mountedMerged_) GTEST_SKIP() << "overlayfs cannot be mounted here";
  }
  void TearDown() override {
    if (mountedMerged_) ::umount2(at("merged").c_str(), MNT_DETACH);
    if (mountedAgain_) ::umount2(at("again").c_str(), MNT_DETACH);
  }
  bool tryMount(const std::string& lowers, const std::string& target, bool writable) {
    std::string options = "lowerdir=" + lowers;
    if (writable) options += ",upperdir=upper,workdir=work";
    options += ",redirect_dir=off,metacopy=off,index=off";
    const Fd here = sys::openDirectory(AT_FDCWD, ".");
    sys::fchdir(dir_.fd());
    const int result = ::mount("overlay", target.c_str(), "overlay", 0, options.c_str());
    sys::fchdir(here.get());
    return result == 0;
  }
  void expectTheSameTreeAgain() {
    const Tree before = describeTree(at("merged"));
    ::umount2(at("merged").c_str(), 0);
    mountedMerged_ = false;
    const Fd lower = sys::openDirectory(dir_.fd(), "lower");
    SealOptions options;
    options.lowers = {lower.get()};
    StringSink tar;
    writeLayerTar(sys::openDirectory(dir_.fd(), "upper").get(), tar, options);
    StringSource source{tar.text};
    unpackLayer(source, sys::openDirectory(dir_.fd(), "layer").get(), "test");
    ASSERT_TRUE(mountedAgain_ = tryMount("layer:lower", "again", false));
    EXPECT_EQ(describeTree(at("again")), before);
  }
  std::string in(const std::string& path) const { return at("merged/" + path); }
  bool mountedMerged_ = false, mountedAgain_ = false;
};

TEST_F(OverlayRoundTrip, DeletionsOfFilesAndFolders) {
  sys::unlinkat(AT_FDCWD, in("file"), 0);
  fs::removeTree(AT_FDCWD, in("dir"));
  expectTheSameTreeAgain();
  EXPECT_FALSE(sys::tryFstatat(AT_FDCWD, at("again/file")));
}

TEST_F(OverlayRoundTrip, ARecreatedFolderIsOpaque) {
  fs::removeTree(AT_FDCWD, in("recreated"));
  sys::mkdirat(AT_FDCWD, in("recreated"), 0700);
  writeFile(in("recreated/new"), "new");
  expectTheSameTreeAgain();
  EXPECT_FALSE(sys::tryFstatat(AT_FDCWD, at("again/recreated/old")));
}

TEST_F(OverlayRoundTrip, FilesAndFoldersChangePlaces) {
  sys::unlinkat(AT_FDCWD, in("file"), 0);
  sys::mkdirat(AT_FDCWD, in("file"), 0755);
  writeFile(in("file/inside"), "x");
  fs::removeTree(AT_FDCWD, in("dir"));
  writeFile(in("dir"), "a file");
  fs::removeTree(AT_FDCWD, in("deep"));
  sys::symlinkat("kept", AT_FDCWD, in("deep"));
  expectTheSameTreeAgain();
}

TEST_F(OverlayRoundTrip, RenamesLinksAndModes) {
  sys::renameat(AT_FDCWD, in("kept"), AT_FDCWD, in("moved"));
  sys::linkat(AT_FDCWD, in("dir/a"), AT_FDCWD, in("hard"), 0);
  sys::fchmodat(AT_FDCWD, in("dir/b"), 04755);
  sys::lchownat(AT_FDCWD, in("deep/er"), 12, 34);
  sys::mknodat(AT_FDCWD, in("fifo"), S_IFIFO | 0644, 0);
  expectTheSameTreeAgain();
}

TEST_F(OverlayRoundTrip, TouchedButUnchangedFilesStayBelow) {
  // Opened for writing: copied up, but nothing is written.
  sys::openat(AT_FDCWD, in("dir/a"), O_RDWR).reset();
  ASSERT_TRUE(sys::tryFstatat(AT_FDCWD, at("upper/dir/a")));
  expectTheSameTreeAgain();
  EXPECT_FALSE(sys::tryFstatat(AT_FDCWD, at("layer/dir")));
}

// --- ADD ---

TEST_F(UnpackTest, AddMakesTheDestination) {
  add(RawTar{}.file("a/b", "1").end(), {}, "/new/dest");
  EXPECT_EQ(readText(at("new/dest/a/b")), "1");
  EXPECT_EQ(statOf("new").st_mode & 07777, 0755U);
}

TEST_F(UnpackTest, AddKeepsOwnersUnlessToldOtherwise) {
  const std::string tar = RawTar{}.add({.name = "f", .uid = 5, .gid = 6}).symlink("l", "f").end();
  add(tar);
  EXPECT_EQ(statOf("dest/f").st_uid, 5U);
  ArchiveOptions options;
  options.uid = 7;
  options.gid = 8;
  add(tar, options);
  EXPECT_EQ(statOf("dest/f").st_uid, 7U);
  EXPECT_EQ(statOf("dest/l").st_gid, 8U);
}

TEST_F(UnpackTest, AddClampsTimes) {
  ArchiveOptions options;
  options.clampMtime = 500;
  add(RawTar{}.file("late").add({.name = "early", .mtime = 400}).end(), options);
  EXPECT_EQ(statOf("dest/late").st_mtim.tv_sec, 500);
  EXPECT_EQ(statOf("dest/early").st_mtim.tv_sec, 400);
}

TEST_F(UnpackTest, AddMergesFoldersAndReplacesEverythingElse) {
  for (const char* name : {"dest", "dest/dir", "other"}) sys::mkdirat(dir_.fd(), name, 0700);
  writeFile(at("dest/dir/kept"), "kept");
  writeFile(at("dest/file"), "old");
  sys::symlinkat("/other", AT_FDCWD, at("dest/link"));
  add(RawTar{}
          .add({.name = "./", .type = '5', .mode = 0711})
          .add({.name = "dir/", .type = '5', .mode = 0750})
          .file("file", "new")
          .folder("link")
          .file("link/inside", "x")
          .end());
  EXPECT_EQ(statOf("dest").st_mode & 07777, 0700U) << "the entry . changes nothing";
  EXPECT_EQ(statOf("dest/dir").st_mode & 07777, 0750U);
  EXPECT_EQ(readText(at("dest/dir/kept")), "kept");
  EXPECT_EQ(readText(at("dest/file")), "new");
  EXPECT_EQ(readText(at("dest/link/inside")), "x")
      << "a link to a folder is replaced by the folder";
  EXPECT_TRUE(fs::list(sys::openDirectory(dir_.fd(), "other").get()).empty());
}

TEST_F(UnpackTest, AddFollowsLinkedParentsInsideTheRoot) {
  for (const char* name : {"usr", "usr/lib"}) sys::mkdirat(dir_.fd(), name, 0755);
  sys::symlinkat("usr/lib", AT_FDCWD, at("lib"));
  add(RawTar{}.file("lib/x.so", "so").end(), {}, "/");
  EXPECT_EQ(readText(at("usr/lib/x.so")), "so");
}

TEST_F(UnpackTest, AddDoesNotPutAFolderInPlaceOfAParentFile) {
  writeFile(at("a"), "precious");
  EXPECT_THROW(add(RawTar{}.file("a/b").end(), {}, "/"), Error);
  EXPECT_EQ(readText(at("a")), "precious");
}

TEST_F(UnpackTest, AddKeepsHardLinksDevicesAndGlobalComments) {
  add(RawTar{}
          .pax({{"comment", "0123"}}, 'g')
          .file("a", "1")
          .hardLink("b", "a")
          .add({.name = "null", .type = '3', .mode = 0666, .devMajor = 1, .devMinor = 3})
          .end());
  EXPECT_EQ(statOf("dest/a").st_ino, statOf("dest/b").st_ino);
  EXPECT_EQ(statOf("dest/null").st_rdev, makedev(1, 3));
}

TEST_F(UnpackTest, AddAcceptsLinksThatStayInside) {
  add(RawTar{}
          .folder("a")
          .symlink("a/l", "../b")
          .symlink("abs", "/etc/passwd")
          .symlink("x", "./y/../z")
          .end());
  EXPECT_EQ(sys::readlinkat(AT_FDCWD, at("dest/abs")), "/etc/passwd");
}

TEST_F(UnpackTest, ATreeOfItsOwnMayHoldLinksOutOfItAndNamesThatMeanDeletion) {
  ArchiveOptions options;
  options.isTree = true;
  add(RawTar{}.symlink("up", "../../x").file(".wh.kept", "1").end(), options, "/");
  EXPECT_EQ(sys::readlinkat(dir_.fd(), "up"), "../../x");
  EXPECT_EQ(fs::readFile(dir_.fd(), ".wh.kept"), "1");
}

}  // namespace
}  // namespace img::store
