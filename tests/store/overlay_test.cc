#include "store/overlay.h"

#include <sched.h>
#include <sys/mount.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/process.h"
#include "store/rootfs.h"
#include "store/whiteout.h"
#include "tests/store/store_fixture.h"

namespace img::store {
namespace {

using test::errorOf;

class UnionTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!test::isRoot()) GTEST_SKIP() << "mounting needs root";
  }
  int makeFolder(const std::string& path) {
    folders_.push_back(fs::makeDirs(dir.fd(), path));
    return folders_.back().get();
  }
  static void write(int folder, const std::string& path, std::string_view text) {
    const size_t slash = path.rfind('/');
    if (slash != std::string::npos) fs::makeDirs(folder, path.substr(0, slash)).reset();
    fs::replaceFile(folder, path, text, 0644, fs::Sync::none);
  }
  static std::string read(const Fd& root, const std::string& path) {
    return img::readAll(sys::openInRoot(root.get(), path, O_RDONLY).get(), path);
  }
  static bool has(const Fd& root, const std::string& path) {
    return sys::tryOpenInRoot(root.get(), path, O_PATH | O_NOFOLLOW).has_value();
  }

  fs::TempDir dir;

 private:
  std::vector<Fd> folders_;
};

class Overlay : public UnionTest, public testing::WithParamInterface<OverlayMethod> {
 protected:
  void SetUp() override {
    UnionTest::SetUp();
    if (IsSkipped() || GetParam() != OverlayMethod::newApi) return;
    try {
      mountOverlay({.lowers = {makeFolder("p1"), makeFolder("p2")}}, GetParam()).reset();
    } catch (const Error& error) {
      if (error.kind() == Kind::unsupported) GTEST_SKIP() << error.cause();
      throw;
    }
  }
};
std::string methodName(const testing::TestParamInfo<OverlayMethod>& test) {
  static constexpr const char* kNames[] = {"Probe", "NewApi", "MountCall"};
  return kNames[static_cast<int>(test.param)];
}
INSTANTIATE_TEST_SUITE_P(Methods, Overlay,
                         testing::Values(OverlayMethod::probe, OverlayMethod::newApi,
                                         OverlayMethod::mountCall),
                         methodName);

TEST_P(Overlay, LeavesTheWorkingFolderOfTheCaller) {
  const std::string before = sys::readlinkat(AT_FDCWD, "/proc/self/cwd");
  sys::fchdir(dir.fd());
  const std::string here = sys::readlinkat(AT_FDCWD, "/proc/self/cwd");
  const Fd root = mountOverlay({.lowers = {makeFolder("a"), makeFolder("b")},
                                .upper = makeFolder("upper"),
                                .work = makeFolder("work")},
                               GetParam());
  EXPECT_EQ(sys::readlinkat(AT_FDCWD, "/proc/self/cwd"), here);
  ASSERT_EQ(::chdir(before.c_str()), 0);
}

TEST_P(Overlay, ShowsTheTopmostFirst) {
  const int top = makeFolder("top");
  const int bottom = makeFolder("bottom");
  write(top, "both", "top");
  write(bottom, "both", "bottom");
  write(bottom, "only", "below");
  const Fd root = mountOverlay({.lowers = {top, bottom}}, GetParam());
  EXPECT_EQ(read(root, "both"), "top");
  EXPECT_EQ(read(root, "only"), "below");
  const Error error = errorOf([&] { sys::mkdirat(root.get(), "new", 0755); });
  EXPECT_EQ(error.errnum(), EROFS);
}

TEST_P(Overlay, WritesGoToTheUpper) {
  const int lower = makeFolder("lower");
  const int upper = makeFolder("upper");
  write(lower, "file", "old");
  write(lower, "gone", "x");
  {
    const Fd root = mountOverlay(
        {.lowers = {lower}, .upper = upper, .work = makeFolder("work"), .isVolatile = true},
        GetParam());
    fs::replaceFile(root.get(), "file", "new", 0644, fs::Sync::none);
    sys::unlinkat(root.get(), "gone", 0);
    sys::mkdirat(root.get(), "made", 0755);
  }
  EXPECT_EQ(fs::readFile(upper, "file"), "new");
  EXPECT_EQ(fs::readFile(lower, "file"), "old");
  const struct stat whiteout = sys::fstatat(upper, "gone");
  EXPECT_TRUE(S_ISCHR(whiteout.st_mode) && whiteout.st_rdev == makedev(0, 0));
}

TEST_P(Overlay, AnOpaqueLayerHidesAllBelowIt) {
  const int top = makeFolder("top");
  const int middle = makeFolder("middle");
  const int bottom = makeFolder("bottom");
  write(top, "top", "x");
  write(middle, "middle", "x");
  write(bottom, "bottom", "x");
  markOpaque(sys::openDirectory(middle, ".").get());
  const Fd root = mountOverlay({.lowers = {top, middle, bottom}}, GetParam());
  EXPECT_TRUE(has(root, "top"));
  EXPECT_TRUE(has(root, "middle"));
  EXPECT_FALSE(has(root, "bottom"));
}

TEST_P(Overlay, TheSameLayerTwiceCountsWhereItIsHighest) {
  const int twice = makeFolder("twice");
  const int between = makeFolder("between");
  write(twice, "both", "twice");
  write(between, "both", "between");
  write(between, "only", "between");
  const Fd root = mountOverlay({.lowers = {twice, between, twice}}, GetParam());
  EXPECT_EQ(read(root, "both"), "twice");
  EXPECT_EQ(read(root, "only"), "between");
}

TEST_F(UnionTest, AnOpaqueTopmostLayerIsAlone) {
  const int top = makeFolder("top");
  const int bottom = makeFolder("bottom");
  write(top, "top", "x");
  write(bottom, "bottom", "x");
  markOpaque(sys::openDirectory(top, ".").get());
  const Fd root = mountOverlay({.lowers = {top, bottom}});
  EXPECT_TRUE(has(root, "top"));
  EXPECT_FALSE(has(root, "bottom"));
}

TEST_P(Overlay, AFolderThatIsRenamedIsCopiedAndNotRedirected) {
  const int lower = makeFolder("lower");
  write(lower, "a/file", "x");
  const Fd root = mountOverlay(
      {.lowers = {lower}, .upper = makeFolder("upper"), .work = makeFolder("work")}, GetParam());
  const Error error = errorOf([&] { sys::renameat(root.get(), "a", root.get(), "b"); });
  EXPECT_EQ(error.errnum(),
            EXDEV);  // mv(1) copies then: no redirect that would need the layers below
}

TEST_P(Overlay, ManyLayersFit) {
  std::vector<int> lowers;
  for (int i = 0; i < 60; ++i) {
    lowers.push_back(makeFolder("layer" + std::to_string(i)));
    write(lowers.back(), "f" + std::to_string(i), "x");
  }
  const Fd root = mountOverlay(
      {.lowers = lowers, .upper = makeFolder("upper"), .work = makeFolder("work")}, GetParam());
  EXPECT_TRUE(has(root, "f0"));
  EXPECT_TRUE(has(root, "f59"));
}

TEST_P(Overlay, CanBeAttachedAnywhere) {
  const int lower = makeFolder("lower");
  write(lower, "file", "x");
  const Fd root = mountOverlay(
      {.lowers = {lower}, .upper = makeFolder("upper"), .work = makeFolder("work")}, GetParam());
  const int target = makeFolder("target");
  sys::moveMount(root.get(), target, "");
  EXPECT_EQ(fs::readFile(AT_FDCWD, dir.path() + "/target/file"), "x");
  sys::umount2(dir.path() + "/target", MNT_DETACH);
}

TEST_F(UnionTest, OneLowerWithoutUpperHidesItsWhiteouts) {
  const int lower = makeFolder("lower");
  write(lower, "file", "x");
  sys::mknodat(lower, "gone", S_IFCHR, makedev(0, 0));
  const Fd root = mountOverlay({.lowers = {lower}});
  EXPECT_EQ(read(root, "file"), "x");
  EXPECT_FALSE(has(root, "gone"));
}

TEST_F(UnionTest, OfNoOrTooManyLayersIsRefused) {
  EXPECT_EQ(errorOf([] { std::ignore = mountOverlay({}); }).kind(), Kind::internal);
  const std::vector<int> lowers(kMaxLowers + 1, dir.fd());
  const Error error = errorOf([&] { std::ignore = mountOverlay({.lowers = lowers}); });
  EXPECT_EQ(error.kind(), Kind::unsupported);
  EXPECT_FALSE(error.hints().empty());
}

TEST_F(UnionTest, OnOverlayfsSaysWhereToPutTheStore) {
  const int lower = makeFolder("lower");
  const Fd outer =
      mountOverlay({.lowers = {lower}, .upper = makeFolder("upper"), .work = makeFolder("work")});
  for (const char* name : {"l", "u", "w"}) sys::mkdirat(outer.get(), name, 0755);
  const Fd innerLower = sys::openDirectory(outer.get(), "l");
  const Fd innerUpper = sys::openDirectory(outer.get(), "u");
  const Fd innerWork = sys::openDirectory(outer.get(), "w");
  const Error error = errorOf([&] {
    std::ignore = mountOverlay(
        {.lowers = {innerLower.get()}, .upper = innerUpper.get(), .work = innerWork.get()});
  });
  ASSERT_FALSE(error.hints().empty()) << error.cause();
  EXPECT_NE(error.hints()[0].find("overlayfs"), std::string::npos);
}

// Ids of a user namespace
// ------------------------------------------------------------------------------

constexpr unsigned kFirstId = 200000;

// A user namespace with 65536 ids from kFirstId on; it stays as long as its descriptor.
Fd makeUserNamespace() {
  Pipe ready = Pipe::make();
  const Child child = Child::fork([&] {
    sys::unshare(CLONE_NEWUSER);
    writeAll(ready.write.get(), "r", "a pipe");
    for (;;) ::pause();  // killed by the handle
    return std::string{};
  });
  ready.write.reset();
  std::byte answer{};
  if (readFull(ready.read.get(), {&answer, 1}, "a pipe") != 1)
    throw Error{Kind::failed, "no child"};
  for (const char* file : {"uid_map", "gid_map"}) {
    const Fd map = sys::openat(AT_FDCWD, fmt::format("/proc/{}/{}", child.pid(), file), O_WRONLY);
    writeAll(map.get(), fmt::format("0 {} 65536", kFirstId), file);
  }
  return sys::openat(AT_FDCWD, fmt::format("/proc/{}/ns/user", child.pid()), O_RDONLY);
}

uid_t ownerOf(int folder, const std::string& path) {
  return sys::fstatat(folder, path).st_uid;
}

TEST_P(Overlay, ShowsTheOwnersThatAUserNamespaceHas) {
  const Fd user = makeUserNamespace();
  const int lower = makeFolder("lower");
  write(lower, "roots", "1");
  write(lower, "others", "2");
  sys::lchownat(lower, "others", 1000, 1001);
  const int folder = makeFolder("container");
  const int upper = makeFolder("container/upper");
  const Fd root = mountOverlay({.lowers = {lower, makeFolder("empty")},
                                .upper = upper,
                                .work = makeFolder("container/work"),
                                .mapping = {user.get(), folder}},
                               GetParam());
  EXPECT_EQ(ownerOf(root.get(), "roots"), kFirstId);
  EXPECT_EQ(ownerOf(root.get(), "others"), kFirstId + 1000);
  EXPECT_EQ(sys::fstatat(root.get(), "others").st_gid, kFirstId + 1001);
  // Changes lie in the upper as they are inside.
  sys::lchownat(root.get(), "roots", kFirstId + 7, kFirstId + 8);
  EXPECT_EQ(ownerOf(upper, "roots"), 7U);
  EXPECT_EQ(sys::fstatat(upper, "roots").st_gid, 8U);
  EXPECT_EQ(ownerOf(lower, "roots"), 0U) << "the layer is shared";
}

TEST_F(UnionTest, OfAFileSystemThatCannotMapIdsSaysSo) {
  const Fd user = makeUserNamespace();
  const Fd proc = sys::openDirectory(AT_FDCWD, "/proc/self");
  const Error error = errorOf([&] { std::ignore = cloneMapped(proc.get(), user.get()); });
  EXPECT_EQ(error.kind(), Kind::unsupported);
  EXPECT_EQ(error.code(), "idmap");
}

// The root file system
// ------------------------------------------------------------------------------

class Rootfs : public UnionTest {
 protected:
  void SetUp() override {
    UnionTest::SetUp();
    if (IsSkipped()) return;
    layer = makeFolder("layer");
    base = makeFolder("base");
    init = makeFolder("init");
  }
  Fd mount(bool isVolatile = true) {
    const int upper = makeFolder("upper");
    fs::removeTree(dir.fd(), "work");
    return mountRootfs({.layers = {layer, base},
                        .upper = upper,
                        .work = makeFolder("work"),
                        .isVolatile = isVolatile,
                        .init = init});
  }
  void expectStubs(const Fd& root) {
    for (const char* folder : {"proc", "sys", "dev"}) {
      const Fd fd = sys::openInRoot(root.get(), folder, O_PATH);
      EXPECT_TRUE(S_ISDIR(sys::fstat(fd.get()).st_mode)) << folder;
    }
    for (const char* file : {"etc/hosts", "etc/hostname", "etc/resolv.conf"}) {
      const Fd fd = sys::openInRoot(root.get(), file, O_PATH);
      EXPECT_TRUE(S_ISREG(sys::fstat(fd.get()).st_mode)) << file;
    }
  }
  std::vector<std::string> namesIn(const char* path) {
    std::vector<std::string> all;
    for (const fs::Entry& entry : fs::listSorted(sys::openDirectory(dir.fd(), path).get()))
      all.push_back(entry.name);
    return all;
  }
  int layer = -1, base = -1, init = -1;
};

TEST_F(Rootfs, OfAnEmptyImageHasAllStubsInTheInitLayer) {
  expectStubs(mount());
  EXPECT_EQ(namesIn("init"), (std::vector<std::string>{"dev", "etc", "proc", "sys"}));
  EXPECT_TRUE(namesIn("upper").empty());
}

TEST_F(Rootfs, OfACompleteImageUsesNoInitLayer) {
  for (const char* folder : {"proc", "sys", "dev"}) sys::mkdirat(base, folder, 0755);
  for (const char* file : {"etc/hosts", "etc/hostname", "etc/resolv.conf"})
    write(base, file, "image's own");
  const Fd root = mount();
  expectStubs(root);
  EXPECT_EQ(read(root, "etc/hosts"), "image's own");
  EXPECT_TRUE(namesIn("init").empty());
}

TEST_F(Rootfs, FoldersOfTheImageKeepTheirMetadata) {
  write(base, "etc/passwd", "root");
  const Fd etc = sys::openDirectory(base, "etc");
  sys::fchown(etc.get(), 12, 34);
  sys::fchmod(etc.get(), 02750);
  sys::fsetxattr(etc.get(), "user.note", "kept");
  sys::futimens(etc.get(), {1000, 0}, {2000, 5});
  sys::fchmod(layer, 0711);
  sys::futimens(layer, {1, 0}, {3000, 0});
  const Fd root = mountRootfs({.layers = {layer, base}, .init = init});
  const Fd seen = sys::openInRoot(root.get(), "etc", O_RDONLY);
  const struct stat st = sys::fstat(seen.get());
  EXPECT_EQ(st.st_uid, 12U);
  EXPECT_EQ(st.st_gid, 34U);
  EXPECT_EQ(st.st_mode & 07777, 02750U);
  EXPECT_EQ(st.st_mtim.tv_sec, 2000);
  EXPECT_EQ(st.st_mtim.tv_nsec, 5);
  EXPECT_EQ(sys::fgetxattr(seen.get(), "user.note"), "kept");
  EXPECT_EQ(read(root, "etc/passwd"), "root");
  const struct stat top = sys::fstat(root.get());
  EXPECT_EQ(top.st_mode & 07777, 0711U);
  EXPECT_EQ(top.st_mtim.tv_sec, 3000);
}

TEST_F(Rootfs, AWhiteoutInTheImageStaysInForce) {
  write(base, "etc/secret", "x");
  write(base, "etc/hosts", "old");
  sys::mknodat(layer, "etc", S_IFCHR, makedev(0, 0));
  const Fd root = mount();
  expectStubs(root);
  EXPECT_EQ(read(root, "etc/hosts"), "");
  EXPECT_FALSE(has(root, "etc/secret"));
}

TEST_F(Rootfs, TheInitLayerIsReusedByTheNextRun) {
  { const Fd first = mount(false); }
  const auto before = sys::fstatat(init, "etc/hosts");
  const Fd second = mount(false);
  expectStubs(second);
  EXPECT_EQ(sys::fstatat(init, "etc/hosts").st_ino, before.st_ino);
}

TEST_F(Rootfs, AStubThatTheContainerRemovedIsMadeAgain) {
  {
    const Fd first = mount(false);
    sys::unlinkat(first.get(), "etc/hosts", 0);
  }
  expectStubs(mount(false));
}

TEST_F(Rootfs, OfAUserNamespaceHasItsStubsWithTheIdsOfTheDisk) {
  const Fd user = makeUserNamespace();
  const int folder = makeFolder("container");
  const int upper = makeFolder("container/upper");
  const RootfsSpec spec{.layers = {layer, base},
                        .upper = upper,
                        .work = makeFolder("container/work"),
                        .init = init,
                        .mapping = {user.get(), folder}};
  {
    const Fd root = mountRootfs(spec);
    expectStubs(root);
    EXPECT_EQ(ownerOf(root.get(), "etc/hosts"), kFirstId);
    EXPECT_EQ(ownerOf(init, "etc/hosts"), 0U);
    sys::unlinkat(root.get(), "etc/hosts", 0);
  }
  // What the container removed is made again, by root of the disk.
  expectStubs(mountRootfs(spec));
  EXPECT_EQ(ownerOf(upper, "etc/hosts"), 0U);
}

TEST_F(Rootfs, ADanglingResolvConfLeadsToAStubAtItsTarget) {
  sys::mkdirat(base, "etc", 0755);
  sys::symlinkat("../run/systemd/resolve/stub.conf", base, "etc/resolv.conf");
  const Fd root = mount();
  expectStubs(root);
  EXPECT_TRUE(has(root, "run/systemd/resolve/stub.conf"));
}

TEST_F(Rootfs, EtcAsALinkIsFollowedInsideTheImage) {
  sys::mkdirat(base, "config", 0755);
  sys::symlinkat("/config", base, "etc");
  const Fd root = mount();
  expectStubs(root);
  EXPECT_TRUE(has(root, "config/hosts"));
}

TEST_F(Rootfs, ALinkOutOfTheImageStaysInside) {
  sys::symlinkat("../../../../../../outside", base, "etc");
  const Fd root = mount();
  expectStubs(root);
  EXPECT_TRUE(has(root, "outside/hosts"));
}

TEST_F(Rootfs, FurtherMountPointsAreMadeInTheInitLayerAlone) {
  fs::makeDirs(base, "run").reset();
  const Fd run = sys::openDirectory(base, "run");
  sys::fchmod(run.get(), 01700);
  sys::futimens(run.get(), {1000, 0}, {2000, 5});
  write(base, "there", "file");
  sys::symlinkat("run", base, "alias");
  const int upper = makeFolder("upper");
  const Fd root = mountRootfs({.layers = {layer, base},
                               .upper = upper,
                               .work = makeFolder("work"),
                               .isVolatile = true,
                               .init = init,
                               .mountPoints = {{"/run/secrets/a", false},
                                               {"/alias/b", true},
                                               {"/deep/er/c", true},
                                               {"/there", false}}});
  EXPECT_TRUE(S_ISREG(sys::fstatat(root.get(), "run/secrets/a").st_mode));
  EXPECT_TRUE(S_ISDIR(sys::fstatat(root.get(), "run/b").st_mode));
  EXPECT_TRUE(S_ISDIR(sys::fstatat(root.get(), "deep/er/c").st_mode));
  const struct stat st = sys::fstatat(root.get(), "run");
  EXPECT_EQ(st.st_mode & 07777, 01700U);
  EXPECT_EQ(st.st_mtim.tv_sec, 2000);
  EXPECT_FALSE(sys::tryFstatat(init, "there"));
  EXPECT_TRUE(fs::list(upper).empty());
}

TEST_F(Rootfs, OfOneLayerAndOfNoneWorkToo) {
  expectStubs(mountRootfs(
      {.layers = {base}, .upper = makeFolder("u"), .work = makeFolder("w"), .init = init}));
  expectStubs(mountRootfs({.layers = {},
                           .upper = makeFolder("u2"),
                           .work = makeFolder("w2"),
                           .init = makeFolder("i2")}));
}

struct Bad {
  const char* name;
  std::function<void(int base)> make;
  const char* message;
};
void PrintTo(const Bad& c, std::ostream* out) {
  *out << c.name;
}
class BadRootfs : public Rootfs, public testing::WithParamInterface<Bad> {};
TEST_P(BadRootfs, IsCorrupt) {
  GetParam().make(base);
  const Error error = errorOf([&] { std::ignore = mount(); });
  EXPECT_EQ(error.kind(), Kind::corrupt);
  EXPECT_EQ(error.cause(), GetParam().message);
}
INSTANTIATE_TEST_SUITE_P(
    Table, BadRootfs,
    testing::Values(Bad{"ProcLink", [](int base) { sys::symlinkat("/tmp", base, "proc"); },
                        "`/proc` in the image is a symbolic link"},
                    Bad{"DevLink", [](int base) { sys::symlinkat("x", base, "dev"); },
                        "`/dev` in the image is a symbolic link"},
                    Bad{"SysFile",
                        [](int base) { fs::replaceFile(base, "sys", "", 0644, fs::Sync::none); },
                        "`/sys` in the image is not a folder"},
                    Bad{"EtcFile",
                        [](int base) { fs::replaceFile(base, "etc", "", 0644, fs::Sync::none); },
                        "`/etc` in the image is not a folder"},
                    Bad{"HostsFolder", [](int base) { fs::makeDirs(base, "etc/hosts").reset(); },
                        "`/etc/hosts` in the image is a folder"},
                    Bad{"LinkLoop", [](int base) { sys::symlinkat("etc", base, "etc"); },
                        "`/etc/hosts` in the image is a loop of symbolic links"}),
    [](const auto& test) { return std::string{test.param.name}; });

}  // namespace
}  // namespace img::store
