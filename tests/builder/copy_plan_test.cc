// A copy that is only planned gives, byte for byte, the tar that the same copy gives on disk.
#include <sys/socket.h>
#include <sys/sysmacros.h>
#include <sys/un.h>

#include "tests/builder/copy_plan_support.h"

namespace img::builder::copies {
namespace {

struct Case {
  const char* name;
  std::function<void(World& world)> prepare;
  Work copy;
  // Parts of the list of entries that must be there, so that no two empty tars are compared.
  std::vector<std::string> entries;
};
void PrintTo(const Case& value, std::ostream* out) {
  *out << value.name;
}

class CopyPlan : public testing::TestWithParam<Case> {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "needs root: mounts, owners and devices";
  }
};

TEST_P(CopyPlan, GivesTheTarThatTheCopyOnDiskGives) {
  World world;
  ::umask(0);
  if (GetParam().prepare) GetParam().prepare(world);
  const std::string ours = planned(world, GetParam().copy);
  const std::string theirs = onDisk(world, GetParam().copy);
  EXPECT_EQ(listing(ours), listing(theirs));
  EXPECT_TRUE(ours == theirs) << "the same entries, other bytes";
  for (const std::string& entry : GetParam().entries)
    EXPECT_NE(listing(theirs).find(entry), std::string::npos) << entry << "\n" << listing(theirs);
  if (GetParam().entries.empty()) {
    EXPECT_EQ(listing(theirs), "");
  }
}

void makeSocket(const World& world, const std::string& path) {
  const Fd fd{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  world.path(path).copy(address.sun_path, sizeof address.sun_path - 1);
  ASSERT_EQ(::bind(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
}

const Case kCases[] = {
    {"AFileIntoMissingFolders",
     [](World& w) { w.put("from/a", "1"); },
     copying("a", "/x/y/"),
     {"x/ ", "x/y/ ", "x/y/a "}},
    {"AFileUnderANewName",
     [](World& w) { w.put("from/a", "1", 0600); },
     copying("a", "/x/b"),
     {"x/b type=0 600"}},
    {"AFileBesideOthersTouchesItsFolder",
     [](World& w) {
       w.put("from/a", "1");
       w.put("lower/etc/passwd", "root");
       w.age("lower/etc", 50);
     },
     copying("a", "/etc/"),
     {"etc/ type=5 755 0:0 1000000000.0", "etc/a "}},
    {"AFileInPlaceOfAnother",
     [](World& w) {
       w.put("from/a", "new");
       w.put("lower/bin/a", "old");
       w.age("lower/bin", 50);
     },
     copying("a", "/bin/a"),
     {"bin/a type=0 644 0:0 100.5 size=3"}},
    {"AFileInPlaceOfALinkIsNotWrittenThrough",
     [](World& w) {
       w.put("from/d/a", "new");
       w.put("lower/bin/busybox", "old");
       sys::symlinkat("busybox", w.temp.fd(), "lower/bin/a");
     },
     copying("d", "/bin"),
     {"bin/a type=0"}},
    {"WhatIsTheSameBelowIsLeftOut",
     [](World& w) {
       for (const char* top : {"from/d", "lower/dst"}) {
         w.put(std::string{top} + "/same", "1");
         w.put(std::string{top} + "/sub/same", "2");
         w.age(std::string{top} + "/sub", 60);
         w.age(top, 60);
       }
       w.put("from/d/other", "3");
       w.put("lower/dst/other", "4");
       w.age("from/d", 60);
       w.age("lower/dst", 60);
     },
     copying("d", "/dst"),
     {"dst/ ", "dst/other "}},
    {"NothingIsLeftWhenAllIsTheSame",
     [](World& w) {
       for (const char* top : {"from/d", "lower/dst"}) {
         sys::symlinkat("f", (fs::makeDirs(w.temp.fd(), std::string{top} + "/sub")).get(), "l");
         w.age(std::string{top} + "/sub/l", 70);
         w.age(std::string{top} + "/sub", 60);
         w.age(top, 60);
       }
     },
     copying("d", "/dst"),
     {}},
    {"AFolderWhoseMetadataDiffer",
     [](World& w) {
       w.put("from/d/sub/f", "1");
       w.put("lower/dst/sub/f", "1");
       sys::fchmodat(w.temp.fd(), "from/d/sub", 0700);
       w.age("from/d/sub", 60);
       w.age("lower/dst/sub", 61);
     },
     copying("d", "/dst"),
     {"dst/sub/ type=5 700"}},
    {"ThroughALinkToAFolder",
     [](World& w) {
       w.put("from/d/f", "1");
       w.put("lower/usr/bin/x", "1");
       sys::symlinkat("usr/bin", w.temp.fd(), "lower/bin");
     },
     copying("d", "/bin/"),
     {"usr/bin/f "}},
    {"ThroughADanglingLink",
     [](World& w) {
       w.put("from/f", "1");
       sys::symlinkat("/far/../away/place", w.temp.fd(), "lower/l");
     },
     copying("f", "/l/"),
     {"away/place/f "}},
    {"IntoTheRoot", [](World& w) { w.put("from/d/f", "1"); }, copying("d", "/"), {"f "}},
    {"AnEmptyFolder",
     [](World& w) { fs::makeDirs(w.temp.fd(), "from/d"); },
     copying("d", "/x"),
     {"x/ "}},
    {"WithoutLayersBelow",
     [](World& w) {
       w.put("from/d/f", "1");
       w.put("lower/x/f", "not seen");
       w.hasLowers = false;
     },
     copying("d", "/x/y"),
     {"x/y/f "}},
    {"NamesInTheOrderOfTheirBytes",
     [](World& w) {
       for (const char* name : {"a/x", "a.b", "a-b", "B", "\xc3\xa4", "\xff\x01", "a0"})
         w.put(std::string{"from/d/"} + name, "1");
     },
     copying("d", "/x"),
     {"x/a-b ", "x/a.b ", "x/a/x "}},
    {"HardLinks",
     [](World& w) {
       w.put("from/d/z/first", "1");
       sys::linkat(w.temp.fd(), "from/d/z/first", w.temp.fd(), "from/d/a", 0);
       sys::linkat(w.temp.fd(), "from/d/z/first", w.temp.fd(), "from/d/m", 0);
     },
     copying("d", "/x"),
     {"x/m type=1 644 0:0 100.5 size=0 x/a"}},
    {"AHardLinkOneNameOfWhichIsReplaced",
     [](World& w) {
       w.put("from/d/a", "1");
       sys::linkat(w.temp.fd(), "from/d/a", w.temp.fd(), "from/d/b", 0);
       w.put("from/e/a", "2");
     },
     [](TreeCopier& copier, const World& world) {
       copyOne(copier, world, "d", "/x");
       copyOne(copier, world, "e", "/x");
     },
     {"x/b type=0"}},
    {"NamesOfOneFileInTwoSourcesAreTwoFiles",
     [](World& w) {
       w.put("from/a", "1");
       sys::linkat(w.temp.fd(), "from/a", w.temp.fd(), "from/b", 0);
     },
     [](TreeCopier& copier, const World& world) {
       copyOne(copier, world, "a", "/x/");
       copyOne(copier, world, "b", "/x/");
     },
     {"x/b type=0"}},
    {"ASparseFile",
     [](World& w) {
       const Fd fd = sys::openat(w.temp.fd(), "from/s", O_WRONLY | O_CREAT, 0644);
       sys::ftruncate(fd.get(), 4 << 20);
       ASSERT_EQ(::pwrite(fd.get(), "middle", 6, 1 << 20), 6);
       sys::futimens(fd.get(), {9, 0}, {9, 0});
     },
     copying("s", "/x/"),
     {"x/s type=0 644 0:0 9.0 size=4194304  sparse"}},
    {"AFileOfSeveralBlocks",
     [](World& w) { w.put("from/big", std::string(3'000'001, 'x')); },
     copying("big", "/big"),
     {"big type=0 644 0:0 100.5 size=3000001"}},
    {"AttributesThatTravel",
     [](World& w) {
       w.put("from/d/f", "1");
       w.put("lower/x/sub/g", "1");
       fs::makeDirs(w.temp.fd(), "from/d/sub");
       addXattr(w, "from/d/f", "user.color", "red");
       addXattr(w, "from/d/f", "trusted.secret", "x");
       addXattr(w, "from/d/sub", "user.new", "1");
       addXattr(w, "lower/x/sub", "user.old", "2");
       addXattr(w, "lower/x", "user.top", "3");
     },
     copying("d", "/x"),
     {"user.color=red", "user.new=1 user.old=2", "user.top=3"}},
    {"OwnersAndModesOfAContext",
     [](World& w) {
       w.put("from/d/f", "1", 04755);
       sys::lchownat(w.temp.fd(), "from/d/f", 7, 8);
       sys::fchmodat(w.temp.fd(), "from/d/f", 06755);
       sys::symlinkat("f", w.temp.fd(), "from/d/l");
       sys::lchownat(w.temp.fd(), "from/d/l", 7, 8);
     },
     copying("d", "/x"),
     {"x/f type=0 6755 0:0", "x/l type=2 777 0:0"}},
    {"OwnersAndModesOfAStage",
     [](World& w) {
       w.options.isContext = false;
       w.put("from/d/f", "1");
       sys::lchownat(w.temp.fd(), "from/d/f", 7, 8);
     },
     copying("d", "/x"),
     {"x/f type=0 644 7:8"}},
    {"ChownAndChmod",
     [](World& w) {
       w.options.owner = {5, 6};
       w.options.mode = parser::ModeChange::parse("4751");
       w.put("from/d/sub/f", "1");
       sys::symlinkat("f", w.temp.fd(), "from/d/l");
     },
     copying("d", "/x/y"),
     {"x/ type=5 4751 5:6", "x/y/sub/f type=0 4751 5:6", "x/y/l type=2 777 5:6"}},
    {"GitPermissions",
     [](World& w) {
       w.options.hasGitPermissions = true;
       w.put("from/d/f", "1", 0600);
       w.put("from/d/x", "1", 0700);
     },
     copying("d", "/x"),
     {"x/f type=0 644", "x/x type=0 755"}},
    {"SpecialFilesOfAStage",
     [](World& w) {
       w.options.isContext = false;
       fs::makeDirs(w.temp.fd(), "from/d");
       sys::mknodat(w.temp.fd(), "from/d/null", S_IFCHR | 0666, makedev(1, 3));
       sys::mknodat(w.temp.fd(), "from/d/pipe", S_IFIFO | 0640, 0);
       makeSocket(w, "from/d/sock");
       for (const char* name : {"from/d/null", "from/d/pipe", "from/d/sock"}) w.age(name, 80);
     },
     copying("d", "/x"),
     {"x/null type=3", "x/pipe type=6 640", "x/sock type=0"}},
    {"SpecialFilesOfAContextAreLeftOut",
     [](World& w) {
       fs::makeDirs(w.temp.fd(), "from/d");
       sys::mknodat(w.temp.fd(), "from/d/pipe", S_IFIFO | 0640, 0);
       w.put("from/d/f", "1");
     },
     copying("d", "/x"),
     {"x/f "}},
    {"ADeviceThatIsTheSameBelow",
     [](World& w) {
       w.options.isContext = false;
       for (const char* top : {"from/d", "lower/dev"}) {
         fs::makeDirs(w.temp.fd(), top);
         sys::mknodat(w.temp.fd(), std::string{top} + "/null", S_IFCHR | 0666, makedev(1, 3));
         w.age(std::string{top} + "/null", 80);
       }
       w.put("from/d/f", "1");
     },
     copying("d", "/dev"),
     {"dev/f "}},
    {"WithoutWhatIsExcluded",
     [](World& w) {
       w.put("from/d/keep/f", "1");
       w.put("from/d/drop/f", "1");
       w.put("from/d/drop/kept", "1");
     },
     [](TreeCopier& copier, const World& world) {
       const auto exclude = parser::IgnorePatterns::compile({"drop", "!drop/kept"});
       SourceFilter filter;
       filter.exclude = &exclude;
       copyOne(copier, world, "d", "/x", filter);
     },
     {"x/drop/kept ", "x/keep/f "}},
    {"WithParents",
     [](World& w) {
       w.put("from/a/b/c", "1");
       w.put("from/a/b/d", "1");
       w.put("lower/x/a/old", "1");
     },
     [](TreeCopier& copier, const World& world) {
       const auto kept = parser::IgnorePatterns::compile({"a/b/c"});
       SourceFilter filter;
       filter.include = &kept;
       const Fd base = sys::openInRoot(world.from.get(), ".", O_PATH);
       copier.copyWithParents({base.get(), "", "", "a/b/c", world.from.get()}, "/x/", filter);
     },
     {"x/a/b/c "}},
    {"InlineFiles",
     [](World& w) {
       w.options.mode = parser::ModeChange::parse("u+x");
       w.put("lower/etc/motd", "old");
     },
     [](TreeCopier& copier, const World&) {
       copier.writeFile("script", "#!/bin/sh\n", "/bin/");
       copier.writeFile("motd", "", "/etc/motd");
     },
     {"bin/script type=0 744", "etc/motd type=0 744 0:0 1000000000.0 size=0"}},
    {"ASourceThatStaysOpen",
     [](World& w) {
       w.put("from/d/f", "1");
       w.put("from/g", "2");
     },
     [](TreeCopier& copier, const World& world) {
       // Kept until the tar is written, as the sources of a URL are.
       static std::vector<Fd> open;
       for (const char* name : {"d", "g"}) {
         open.push_back(sys::openInRoot(world.from.get(), name, O_PATH));
         copier.copy({open.back().get(), name, "", name}, "/x/", {});
       }
     },
     {"x/f ", "x/g "}},
    {"OverWhatLayersBelowHaveDeleted",
     [](World& w) {
       w.put("lower/a/f", "1");
       w.put("lower/b/f", "1");
       w.put("lower/c", "1");
       fs::makeDirs(w.temp.fd(), "lower2/b");
       addXattr(w, "lower2/b", "trusted.overlay.opaque", "y");
       sys::mknodat(w.temp.fd(), "lower2/a", S_IFCHR, 0);
       sys::mknodat(w.temp.fd(), "lower2/c", S_IFCHR, 0);
       for (const char* name : {"a/f", "b/f", "c/f"}) w.put(std::string{"from/d/"} + name, "1");
     },
     copying("d", "/"),
     {"a/f ", "b/f ", "c/f "}},
    {"SourcesOneAfterTheOther",
     [](World& w) {
       w.put("from/d/f", "1");
       w.put("from/g", "2");
       w.put("lower/x/old", "1");
       w.age("from/d", 90);
     },
     [](TreeCopier& copier, const World& world) {
       copyOne(copier, world, "g", "/x/");
       copyOne(copier, world, "d", "/x/");
     },
     {"x/ type=5 755 0:0 90.5", "x/f ", "x/g "}},
};

INSTANTIATE_TEST_SUITE_P(All, CopyPlan, testing::ValuesIn(kCases),
                         [](const auto& one) { return std::string{one.param.name}; });

}  // namespace
}  // namespace img::builder::copies
