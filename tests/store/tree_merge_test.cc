#include "store/tree_merge.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <atomic>
#include <thread>

#include "base/error.h"
#include "base/fs.h"
#include "base/sys.h"
#include "store/tree_diff.h"
#include "tests/store/store_fixture.h"

namespace img::store {
namespace {

class Merge : public testing::Test {
 protected:
  void write(const std::string& path, std::string_view text, mode_t mode = 0644) {
    const size_t slash = path.rfind('/');
    if (slash != std::string::npos) std::ignore = fs::makeDirs(top.fd(), path.substr(0, slash));
    const Fd file = sys::openat(top.fd(), path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    writeAll(file.get(), text, path);
    sys::fchmod(file.get(), mode);
  }
  std::string read(const std::string& path) { return fs::readFile(top.fd(), path); }
  struct stat stat(const std::string& path) {
    return sys::fstatat(top.fd(), path);
  }
  // from/NAME to to/TARGET
  std::vector<std::string> copy(const std::string& name, const std::string& target,
                                const MergeOptions& options = {}) {
    const Fd source = sys::openat(top.fd(), "from/" + name, O_PATH | O_NOFOLLOW);
    const Fd to = sys::openDirectory(top.fd(), "to");
    TreeMerger merger{to.get(), options};
    merger.copy(source.get(), target);
    return merger.skipped();
  }
  void SetUp() override {
    for (const char* folder : {"from", "to"}) sys::mkdirat(top.fd(), folder, 0755);
  }

  fs::TempDir top;
};

TEST_F(Merge, FoldersJoinAndFilesAreReplaced) {
  write("from/d/new", "new");
  write("from/d/both", "theirs", 0640);
  write("to/d/both", "ours");
  write("to/d/old", "old");
  copy("d", "d");
  EXPECT_EQ(read("to/d/new") + read("to/d/both") + read("to/d/old"), "newtheirsold");
  EXPECT_EQ(stat("to/d/both").st_mode & 07777, 0640U);
}

TEST_F(Merge, NothingIsWrittenThroughALink) {
  write("outside", "untouched");
  write("from/f", "new");
  sys::symlinkat("../outside", top.fd(), "to/f");
  copy("f", "f");
  EXPECT_EQ(read("outside"), "untouched");
  EXPECT_EQ(read("to/f"), "new");
  EXPECT_TRUE(S_ISREG(stat("to/f").st_mode));
}

TEST_F(Merge, OtherNamesOfAReplacedFileKeepItsContent) {
  write("to/a", "old");
  sys::linkat(top.fd(), "to/a", top.fd(), "to/b", 0);
  write("from/f", "new");
  copy("f", "a");
  EXPECT_EQ(read("to/a") + read("to/b"), "newold");
}

TEST_F(Merge, AFolderTakesNoFilesPlaceUnlessAllowed) {
  write("from/d/f", "x");
  write("from/g", "file");
  write("to/d", "a file");
  write("to/g/f", "a folder");
  EXPECT_THROW(copy("d", "d"), Error);
  EXPECT_THROW(copy("g", "g"), Error);
  MergeOptions options;
  options.overwrite = true;
  copy("d", "d", options);
  copy("g", "g", options);
  EXPECT_EQ(read("to/d/f") + read("to/g"), "xfile");
}

TEST_F(Merge, LinksHardLinksAndTimesAreKept) {
  write("from/d/a", "same");
  sys::linkat(top.fd(), "from/d/a", top.fd(), "from/d/b", 0);
  sys::symlinkat("a", top.fd(), "from/d/link");
  const timespec then{1'600'000'000, 5};
  sys::utimensat(top.fd(), "from/d/a", then, then);
  copy("d", "copy");
  EXPECT_EQ(stat("to/copy/a").st_ino, stat("to/copy/b").st_ino);
  EXPECT_EQ(stat("to/copy/a").st_nlink, 2U);
  EXPECT_EQ(stat("to/copy/a").st_mtim.tv_sec, then.tv_sec);
  EXPECT_EQ(sys::readlinkat(top.fd(), "to/copy/link"), "a");
}

TEST_F(Merge, SpecialFilesAreNeverOpened) {
  ASSERT_EQ(::mkfifoat(top.fd(), "from/pipe", 0600), 0);
  const Fd socket{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
  copy("pipe", "pipe");  // opening it would wait for a writer for ever
  EXPECT_TRUE(S_ISFIFO(stat("to/pipe").st_mode));
}

TEST_F(Merge, WhatAContainerMadeGetsNoRightsHere) {
  if (!test::isRoot()) GTEST_SKIP() << "device nodes need root";
  write("from/d/su", "program", 04755);
  sys::mknodat(top.fd(), "from/d/disk", S_IFBLK | 0666, makedev(7, 0));
  MergeOptions options;
  options.isUntrusted = true;
  options.owner = {::geteuid(), ::getegid()};
  const auto skipped = copy("d", "d", options);
  EXPECT_EQ(stat("to/d/su").st_mode & 07777, 0755U);
  EXPECT_EQ(skipped, std::vector<std::string>{"d/disk: a device"});
  EXPECT_FALSE(sys::tryFstatat(top.fd(), "to/d/disk"));
}

TEST_F(Merge, OwnersAreKeptOrGiven) {
  if (!test::isRoot()) GTEST_SKIP() << "other owners need root";
  write("from/f", "x");
  sys::lchownat(top.fd(), "from/f", 1234, 5678);
  copy("f", "kept");
  MergeOptions options;
  options.owner = {7, 8};
  copy("f", "given", options);
  EXPECT_EQ(stat("to/kept").st_uid, 1234U);
  EXPECT_EQ(stat("to/kept").st_gid, 5678U);
  EXPECT_EQ(stat("to/given").st_uid, 7U);
  EXPECT_EQ(stat("to/given").st_gid, 8U);
}

// CVE-2018-15664: a folder of the destination is a link out of it now and then.
TEST_F(Merge, ALinkSwappedInMeanwhileLeadsNowhere) {
  write("secret/f", "untouched");
  for (int i = 0; i < 40; ++i) write("from/d/f" + std::to_string(i), "new");
  write("from/d/f", "new");
  sys::mkdirat(top.fd(), "to/d", 0755);
  sys::symlinkat("../secret", top.fd(), "to/swap");
  std::atomic<bool> isOver = false;
  std::jthread swapper{[&] {
    while (!isOver) {
      ::renameat2(top.fd(), "to/d", top.fd(), "to/swap", RENAME_EXCHANGE);
    }
  }};
  for (int i = 0; i < 200; ++i) {
    try {
      copy("d", "d");
    } catch (const Error&) {
      continue;  // it met the link, or what it had just made was gone
    }
  }
  isOver = true;
  swapper.join();
  EXPECT_EQ(read("secret/f"), "untouched");
  EXPECT_EQ(fs::list(sys::openDirectory(top.fd(), "secret").get()).size(), 1U);
}

// --- diffTrees, on the same kind of trees ---

std::string describe(const std::vector<TreeChange>& changes) {
  std::string text;
  for (const TreeChange& change : changes) {
    text += std::string{changeLetter(change.kind)} + " " + change.path + "\n";
  }
  return text;
}

class Diff : public Merge {
 protected:
  std::string diff() {
    const Fd upper = sys::openDirectory(top.fd(), "from");
    const Fd lower = sys::openDirectory(top.fd(), "to");
    return describe(diffTrees({lower.get()}, {upper.get(), lower.get()}));
  }
};

TEST_F(Diff, AnEmptyLayerChangesNothing) {
  write("to/a/b", "x");
  EXPECT_EQ(diff(), "");
}

TEST_F(Diff, AddedAndChangedFilesMarkTheirFolders) {
  write("to/a/b/old", "x");
  write("to/a/other", "x");
  write("from/a/b/old", "longer");
  write("from/a/b/new/deep", "x");
  EXPECT_EQ(diff(), "C /a\nC /a/b\nA /a/b/new\nA /a/b/new/deep\nC /a/b/old\n");
}

TEST_F(Diff, WhiteoutsDelete) {
  if (!test::isRoot()) GTEST_SKIP() << "whiteouts need root";
  write("to/a/gone", "x");
  write("to/tree/x/y", "x");
  sys::mkdirat(top.fd(), "from/a", 0755);
  makeWhiteout(sys::openDirectory(top.fd(), "from/a").get(), "gone");
  makeWhiteout(sys::openDirectory(top.fd(), "from").get(), "tree");
  EXPECT_EQ(diff(), "C /a\nD /a/gone\nD /tree\n");
}

TEST_F(Diff, AnOpaqueFolderHidesWhatWasThere) {
  if (!test::isRoot()) GTEST_SKIP() << "opaque marks need root";
  write("to/a/gone", "x");
  write("to/a/back", "x");
  write("from/a/back", "other");
  markOpaque(sys::openDirectory(top.fd(), "from/a").get());
  EXPECT_EQ(diff(), "C /a\nC /a/back\nD /a/gone\n");
}

TEST_F(Diff, AFolderInTheFilesPlaceShowsItsContent) {
  write("to/a", "file");
  write("from/a/b", "x");
  EXPECT_EQ(diff(), "C /a\nA /a/b\n");
}

TEST_F(Diff, AFileCopiedUpUnchangedIsNoChange) {
  write("to/a/same", "x");
  write("from/a/same", "x");
  for (const char* path : {"to/a/same", "from/a/same", "to/a", "from/a"}) {
    sys::utimensat(top.fd(), path, {1, 0}, {1, 0});
  }
  EXPECT_EQ(diff(), "");
  write("from/a/same", "y");
  for (const char* path : {"from/a/same", "from/a"}) {
    sys::utimensat(top.fd(), path, {1, 0}, {1, 0});
  }
  EXPECT_EQ(diff(), "C /a\nC /a/same\n");
}

}  // namespace
}  // namespace img::store
