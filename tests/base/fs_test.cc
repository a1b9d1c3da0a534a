#include "base/fs.h"

#include <dirent.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>
#include <unistd.h>

#include <set>

#include "base/process.h"
#include "base/sys.h"

namespace img::fs {
namespace {

class Files : public testing::Test {
 protected:
  [[nodiscard]] std::string in(const std::string& name) const { return dir.path() + "/" + name; }
  void put(const std::string& path, std::string_view content = "x") const {
    replaceFile(dir.fd(), path, content, 0644, Sync::none);
  }
  [[nodiscard]] bool has(const std::string& path) const {
    return sys::tryFstatat(dir.fd(), path).has_value();
  }
  [[nodiscard]] std::vector<std::string> names() const {
    std::vector<std::string> all;
    for (const Entry& entry : listSorted(dir.fd())) all.push_back(entry.name);
    return all;
  }

  TempDir dir;
};

TEST_F(Files, ListNamesEverythingButDotsAndSaysTheType) {
  put("b");
  put(".hidden");
  sys::mkdirat(dir.fd(), "a", 0755);
  sys::symlinkat("nowhere", dir.fd(), "c");
  EXPECT_EQ(names(), (std::vector<std::string>{".hidden", "a", "b", "c"}));
  const std::vector<Entry> entries = listSorted(dir.fd());
  EXPECT_EQ(entries[1].type, DT_DIR);
  EXPECT_EQ(entries[2].type, DT_REG);
  EXPECT_EQ(entries[3].type, DT_LNK);
  EXPECT_EQ(list(dir.fd()).size(), 4U) << "listing twice starts from the front";
}

TEST_F(Files, ListSortsBytewiseAndManages3000Names) {
  for (int i = 0; i < 3000; ++i) {
    sys::mknodat(dir.fd(), fmt::format("name-that-is-rather-long-{}", i), S_IFREG | 0600, 0);
  }
  const std::vector<Entry> entries = listSorted(dir.fd());
  ASSERT_EQ(entries.size(), 3000U);
  for (size_t i = 1; i < entries.size(); ++i) ASSERT_LT(entries[i - 1].name, entries[i].name);
}

TEST_F(Files, MakeDirsCreatesWhatIsMissingAndKeepsWhatIsThere) {
  const Fd deep = makeDirs(dir.fd(), "a//b/./c/", 0700);
  EXPECT_EQ(sys::fstat(deep.get()).st_ino, sys::fstatat(dir.fd(), "a/b/c").st_ino);
  EXPECT_EQ(sys::fstatat(dir.fd(), "a/b").st_mode & 07777, 0700U);
  put("a/b/c/file");
  (void)makeDirs(dir.fd(), "a/b/c/d");
  EXPECT_TRUE(has("a/b/c/file"));
  (void)makeDirs(AT_FDCWD, in("absolute/path"));
  EXPECT_TRUE(has("absolute/path"));
}

TEST_F(Files, MakeDirsDoesNotPassThroughAFile) {
  put("file");
  EXPECT_THROW((void)makeDirs(dir.fd(), "file/sub"), Error);
}

TEST_F(Files, RemoveTreeTakesFilesLinksAndFolders) {
  (void)makeDirs(dir.fd(), "tree/a/b");
  put("tree/a/b/file");
  put("tree/file");
  sys::symlinkat("a", dir.fd(), "tree/link");
  sys::check([&] { return ::mkfifoat(dir.fd(), "tree/a/fifo", 0600); }, "make a fifo");
  put("beside");
  removeTree(dir.fd(), "tree");
  EXPECT_EQ(names(), std::vector<std::string>{"beside"});
  removeTree(dir.fd(), "beside");
  EXPECT_TRUE(names().empty());
}

TEST_F(Files, RemoveTreeOfNothingIsNoError) {
  removeTree(dir.fd(), "missing");
  removeTree(AT_FDCWD, in("missing/below"));
}

TEST_F(Files, RemoveTreeNeverFollowsALink) {
  (void)makeDirs(dir.fd(), "kept");
  put("kept/file");
  (void)makeDirs(dir.fd(), "tree");
  sys::symlinkat("../kept", dir.fd(), "tree/relative");
  sys::symlinkat(in("kept"), dir.fd(), "tree/absolute");
  removeTree(dir.fd(), "tree");
  sys::symlinkat("kept", dir.fd(), "link");
  removeTree(dir.fd(), "link");
  EXPECT_EQ(names(), std::vector<std::string>{"kept"});
  EXPECT_TRUE(has("kept/file"));
}

// Deeper than PATH_MAX allows to name and than a process may hold descriptors: what a container
// can leave behind must still be removable.
TEST_F(Files, RemoveTreeTakesATreeOfThreeThousandLevels) {
  sys::mkdirat(dir.fd(), "deep", 0755);
  Fd current = sys::openDirectory(dir.fd(), "deep");
  for (int i = 0; i < 3000; ++i) {
    sys::mkdirat(current.get(), "d", 0755);
    if (i % 500 == 0) sys::symlinkat("/", current.get(), "link");
    current = sys::openDirectory(current.get(), "d");
  }
  removeTree(dir.fd(), "deep");
  EXPECT_TRUE(names().empty());
}

// Runs `work` in a mount namespace of its own, so that no mount survives the test.
std::string withMounts(const std::function<std::string()>& work) {
  return Child::fork([&] {
           sys::unshare(CLONE_NEWNS);
           sys::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr);
           return work();
         })
      .finish();
}

// Removes `tree` and says with what kind that failed.
std::string removalFails(int dir, const std::string& tree) {
  try {
    removeTree(dir, tree);
  } catch (const Error& error) {
    return std::string{kindName(error.kind())};
  }
  return "removed";
}

TEST_F(Files, RemoveTreeDoesNotCrossAMountOfAnotherFileSystem) {
  if (::geteuid() != 0) GTEST_SKIP() << "mounts need root";
  (void)makeDirs(dir.fd(), "tree/mnt");
  EXPECT_EQ(withMounts([&] {
              sys::mount("none", in("tree/mnt"), "tmpfs", 0, nullptr);
              put("tree/mnt/file");
              return removalFails(dir.fd(), "tree") + (has("tree/mnt/file") ? " kept" : " lost");
            }),
            "busy kept");
}

// A bind mount shows the same device number as its surroundings.
TEST_F(Files, RemoveTreeDoesNotCrossABindMountOfTheSameFileSystem) {
  if (::geteuid() != 0) GTEST_SKIP() << "mounts need root";
  (void)makeDirs(dir.fd(), "tree/mnt");
  (void)makeDirs(dir.fd(), "host");
  put("host/file");
  EXPECT_EQ(withMounts([&] {
              sys::mount(in("host").c_str(), in("tree/mnt"), nullptr, MS_BIND, nullptr);
              return removalFails(dir.fd(), "tree");
            }),
            "busy");
  EXPECT_TRUE(has("host/file"));
}

TEST_F(Files, RemoveTreeDoesNotEmptyAMountThatIsItsOwnName) {
  if (::geteuid() != 0) GTEST_SKIP() << "mounts need root";
  (void)makeDirs(dir.fd(), "mnt");
  (void)makeDirs(dir.fd(), "host");
  put("host/file");
  EXPECT_EQ(withMounts([&] {
              sys::mount(in("host").c_str(), in("mnt"), nullptr, MS_BIND, nullptr);
              return removalFails(AT_FDCWD, in("mnt"));
            }),
            "busy");
  EXPECT_TRUE(has("host/file"));
}

TEST_F(Files, ReadFileGivesTheWholeOrRefusesWhatIsTooLong) {
  put("f", std::string_view{"a\0b", 3});
  EXPECT_EQ(readFile(dir.fd(), "f"), (std::string{"a\0b", 3}));
  EXPECT_EQ(readFile(dir.fd(), "f", 3).size(), 3U);
  try {
    readFile(dir.fd(), "f", 2);
    ADD_FAILURE() << "read";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), Kind::corrupt);
    EXPECT_EQ(error.cause(), "f is longer than 2 bytes");
  }
  EXPECT_EQ(tryReadFile(dir.fd(), "missing"), std::nullopt);
  EXPECT_EQ(tryReadFile(dir.fd(), "f/below"), std::nullopt);
  EXPECT_THROW(readFile(dir.fd(), "missing"), Error);
}

TEST_F(Files, ReplaceFileLeavesTheOldOneToWhoeverHasItOpen) {
  for (const Sync sync : {Sync::none, Sync::data, Sync::full}) {
    put("f", "old");
    const Fd old = sys::openat(dir.fd(), "f", O_RDONLY);
    replaceFile(dir.fd(), "f", "new", 0640, sync);
    EXPECT_EQ(readAll(old.get(), "f"), "old");
    EXPECT_EQ(readFile(dir.fd(), "f"), "new");
    EXPECT_EQ(sys::fstatat(dir.fd(), "f").st_mode & 07777, 0640U);
    EXPECT_EQ(names(), std::vector<std::string>{"f"}) << "no temporary file is left";
  }
}

TEST_F(Files, ReplaceFileThatFailsLeavesOldContentAndNoLitter) {
  (void)makeDirs(dir.fd(), "target/full");
  EXPECT_THROW(replaceFile(dir.fd(), "target", "new", 0644, Sync::none), Error);
  EXPECT_EQ(names(), std::vector<std::string>{"target"});
  EXPECT_TRUE(has("target/full"));
}

TEST_F(Files, ReplaceFileReplacesALinkNotItsTarget) {
  put("kept", "kept");
  sys::symlinkat("kept", dir.fd(), "link");
  replaceFile(dir.fd(), "link", "new", 0644, Sync::full);
  EXPECT_EQ(readFile(dir.fd(), "kept"), "kept");
  EXPECT_EQ(readFile(dir.fd(), "link"), "new");
}

TEST(RandomHex, HasTheLengthAskedForAndDoesNotRepeat) {
  EXPECT_EQ(randomHex(0), "");
  EXPECT_EQ(randomHex(7).size(), 7U);
  std::set<std::string> seen;
  for (int i = 0; i < 100; ++i) seen.insert(randomHex(16));
  EXPECT_EQ(seen.size(), 100U);
  EXPECT_EQ(randomHex(64).find_first_not_of("0123456789abcdef"), std::string::npos);
}

TEST(TempDir, IsPrivateAndRemovesItselfWithItsContent) {
  std::string path;
  {
    TempDir first;
    path = first.path();
    EXPECT_EQ(sys::fstat(first.fd()).st_mode & 07777, 0700U);
    (void)makeDirs(first.fd(), "a/b");
    const TempDir second{std::move(first)};
    EXPECT_EQ(second.path(), path);
  }
  EXPECT_FALSE(sys::tryFstatat(AT_FDCWD, path));
}

}  // namespace
}  // namespace img::fs
