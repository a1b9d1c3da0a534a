#include "builder/copy_tree.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "builder/copy_source.h"
#include "builder/folder_destination.h"
#include "tests/builder/support.h"

namespace img::builder {
namespace {

class CopyTree : public testing::Test {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "needs root: owners are set";
    sys::mkdirat(temp_.fd(), "from", 0755);
    sys::mkdirat(temp_.fd(), "to", 0755);
    from_ = sys::openDirectory(temp_.fd(), "from");
    to_ = sys::openDirectory(temp_.fd(), "to");
  }
  void copy(const std::string& path, const std::string& destination,
            const SourceFilter& filter = {}) {
    const Fd handle = sys::openInRoot(from_.get(), path.empty() ? "." : path, O_PATH);
    FolderDestination target{to_.get()};
    TreeCopier copier{target, options_};
    copier.copy({handle.get(), path.substr(path.rfind('/') + 1), path, path}, destination, filter);
  }
  std::string read(const std::string& path) const { return fs::readFile(to_.get(), path); }
  struct stat at(const std::string& path) const {
    return sys::fstatat(to_.get(), path);
  }
  bool exists(const std::string& path) const {
    return sys::tryFstatat(to_.get(), path).has_value();
  }
  std::string errorOf(const std::string& path, const std::string& destination) {
    try {
      copy(path, destination);
    } catch (const Error& error) {
      return error.cause();
    }
    return "no error";
  }

  fs::TempDir temp_;
  Fd from_, to_;
  CopyOptions options_;
};

TEST_F(CopyTree, PutsAFileIntoAFolderDestinationUnderItsName) {
  writeFile(from_.get(), "a", "1");
  copy("a", "/x/y/");
  EXPECT_EQ(read("x/y/a"), "1");
}

TEST_F(CopyTree, MakesTheDestinationTheFileWhenItIsNoFolder) {
  writeFile(from_.get(), "a", "1");
  copy("a", "/x/b");
  EXPECT_EQ(read("x/b"), "1");
}

TEST_F(CopyTree, CopiesTheContentsOfAFolder) {
  writeFile(from_.get(), "d/sub/f", "1", 0600);
  copy("d", "/dst");
  EXPECT_EQ(read("dst/sub/f"), "1");
  EXPECT_EQ(at("dst/sub/f").st_mode & 07777, 0600U);
}

TEST_F(CopyTree, GivesTheTopFolderFixedMetadataAndTheSourcesTime) {
  writeFile(from_.get(), "d/f", "1");
  sys::fchmodat(from_.get(), "d", 0700);
  sys::utimensat(from_.get(), "d", {1000, 7}, {1000, 7});
  copy("d", "/dst");
  EXPECT_EQ(at("dst").st_mode & 07777, 0755U);
  EXPECT_EQ(at("dst").st_mtim.tv_sec, 1000);
  EXPECT_EQ(at("dst").st_mtim.tv_nsec, 7);
}

TEST_F(CopyTree, KeepsSetuidModesTimesAndXattrs) {
  writeFile(from_.get(), "d/f", "1", 04755);
  ::setxattr((temp_.path() + "/from/d/f").c_str(), "user.k", "v", 1, 0);
  sys::utimensat(from_.get(), "d/f", {5, 0}, {5, 123456789});
  copy("d", "/dst");
  EXPECT_EQ(at("dst/f").st_mode & 07777, 04755U);
  EXPECT_EQ(at("dst/f").st_mtim.tv_nsec, 123456789);
  EXPECT_EQ(sys::fgetxattr(sys::openat(to_.get(), "dst/f", O_RDONLY).get(), "user.k"), "v");
}

TEST_F(CopyTree, KeepsHardLinks) {
  writeFile(from_.get(), "d/a", "1");
  sys::linkat(from_.get(), "d/a", from_.get(), "d/b", 0);
  copy("d", "/dst");
  EXPECT_EQ(at("dst/a").st_ino, at("dst/b").st_ino);
}

// As few open files as a process can be given.
class FewFiles {
 public:
  FewFiles() {
    ::getrlimit(RLIMIT_NOFILE, &before_);
    const rlimit few{64, before_.rlim_max};
    ::setrlimit(RLIMIT_NOFILE, &few);
  }
  FewFiles(const FewFiles&) = delete;
  FewFiles& operator=(const FewFiles&) = delete;
  ~FewFiles() { ::setrlimit(RLIMIT_NOFILE, &before_); }

 private:
  rlimit before_{};
};

TEST_F(CopyTree, KeepsMoreHardLinksThanItMayOpenFiles) {
  for (int i = 0; i < 100; ++i) {
    const std::string name = std::to_string(i);
    writeFile(from_.get(), "d/a" + name, "1");
    sys::linkat(from_.get(), "d/a" + name, from_.get(), "d/b" + name, 0);
  }
  const FewFiles limit;
  copy("d", "/dst");
  EXPECT_EQ(at("dst/a0").st_ino, at("dst/b0").st_ino);
  EXPECT_EQ(at("dst/a99").st_ino, at("dst/b99").st_ino);
}

TEST_F(CopyTree, FindsMoreSourcesThanItMayOpenFiles) {
  for (int i = 0; i < 100; ++i) writeFile(from_.get(), "d/" + std::to_string(i), "1");
  const FewFiles limit;
  const SourceRoot root{from_.get(), true, nullptr, "the build context"};
  FolderDestination target{to_.get()};
  TreeCopier copier{target, options_};
  const size_t count = forEachSource(root, "d/*", "COPY", [&](const CopySource& source) {
    copier.copy({source.handle.get(), source.name, source.contextPath, "d/*"}, "/x/",
                SourceFilter{});
  });
  EXPECT_EQ(count, 100U);
  EXPECT_TRUE(exists("x/99"));
}

TEST_F(CopyTree, KeepsHoles) {
  const Fd file = sys::openat(from_.get(), "sparse", O_WRONLY | O_CREAT, 0644);
  sys::ftruncate(file.get(), 1 << 20);
  ::pwrite(file.get(), "x", 1, 600000);
  copy("sparse", "/sparse");
  EXPECT_EQ(at("sparse").st_size, 1 << 20);
  EXPECT_LT(at("sparse").st_blocks * 512, 1 << 20);
  EXPECT_EQ(read("sparse")[600000], 'x');
}

TEST_F(CopyTree, CopiesLinksInsideAFolderAsLinks) {
  sys::mkdirat(from_.get(), "d", 0755);
  sys::symlinkat("/etc/passwd", from_.get(), "d/l");
  copy("d", "/dst");
  EXPECT_EQ(sys::readlinkat(to_.get(), "dst/l"), "/etc/passwd");
}

TEST_F(CopyTree, FollowsLinksInTheDestinationInsideTheRoot) {
  writeFile(from_.get(), "a", "1");
  sys::mkdirat(to_.get(), "real", 0755);
  sys::symlinkat("/real", to_.get(), "link");
  copy("a", "/link/");
  EXPECT_EQ(read("real/a"), "1");
}

TEST_F(CopyTree, CreatesTheTargetOfADanglingLink) {
  writeFile(from_.get(), "a", "1");
  sys::symlinkat("/made/here", to_.get(), "link");
  copy("a", "/link/");
  EXPECT_EQ(read("made/here/a"), "1");
}

TEST_F(CopyTree, NeverLeavesTheRoot) {
  writeFile(from_.get(), "a", "1");
  sys::symlinkat("../../../../outside", to_.get(), "link");
  copy("a", "/link/");
  EXPECT_EQ(read("outside/a"), "1");
}

TEST_F(CopyTree, ReplacesAFileAndNeverWritesThroughALink) {
  writeFile(from_.get(), "d/f", "new");
  writeFile(to_.get(), "victim", "old");
  sys::mkdirat(to_.get(), "dst", 0755);
  sys::symlinkat("/victim", to_.get(), "dst/f");
  copy("d", "/dst");
  EXPECT_EQ(read("dst/f"), "new");
  EXPECT_EQ(read("victim"), "old");
  EXPECT_TRUE(S_ISREG(at("dst/f").st_mode));
}

TEST_F(CopyTree, RefusesAFolderOverAFileAndAFileOverAFolder) {
  writeFile(from_.get(), "d/x/f", "1");
  writeFile(to_.get(), "dst/x", "file");
  EXPECT_EQ(errorOf("d", "/dst"), "/dst/x exists and is not a directory (it is a file)");
  writeFile(from_.get(), "e/y", "1");
  sys::mkdirat(to_.get(), "dst/y", 0755);
  EXPECT_EQ(errorOf("e", "/dst"), "/dst/y exists and is a directory");
}

TEST_F(CopyTree, RefusesALinkToAFolderBelowTheDestination) {
  writeFile(from_.get(), "d/x/f", "1");
  sys::mkdirat(to_.get(), "real", 0755);
  sys::mkdirat(to_.get(), "dst", 0755);
  sys::symlinkat("/real", to_.get(), "dst/x");
  EXPECT_EQ(errorOf("d", "/dst"), "/dst/x exists and is not a directory (it is a symbolic link)");
}

TEST_F(CopyTree, AppliesOwnerAndModeToFilesAndFolders) {
  writeFile(from_.get(), "d/sub/f", "1", 0644);
  options_.owner = {12, 34};
  options_.mode = parser::ModeChange::parse("u=rwX,go=rX");
  copy("d", "/new/dst");
  for (const char* path : {"new", "new/dst", "new/dst/sub", "new/dst/sub/f"})
    EXPECT_EQ(at(path).st_uid, 12U) << path;
  EXPECT_EQ(at("new/dst/sub/f").st_gid, 34U);
  EXPECT_EQ(at("new/dst/sub").st_mode & 07777, 0755U);
  EXPECT_EQ(at("new/dst/sub/f").st_mode & 07777, 0644U);
}

TEST_F(CopyTree, LeavesSpecialFilesOfAContextOutAndRecreatesThoseOfAStage) {
  sys::mkdirat(from_.get(), "d", 0755);
  sys::mknodat(from_.get(), "d/fifo", S_IFIFO | 0644, 0);
  writeFile(from_.get(), "d/f", "1");
  copy("d", "/context");
  EXPECT_FALSE(exists("context/fifo"));
  options_.isContext = false;
  copy("d", "/stage");
  EXPECT_TRUE(S_ISFIFO(at("stage/fifo").st_mode));
}

TEST_F(CopyTree, LeavesOutWhatIsExcludedAndMakesTheParentsOfWhatComesBack) {
  writeFile(from_.get(), "d/skip/a", "1");
  writeFile(from_.get(), "d/skip/keep", "2");
  writeFile(from_.get(), "d/gone/a", "1");
  const parser::IgnorePatterns exclude =
      parser::IgnorePatterns::compile({"skip", "!skip/keep", "gone"});
  SourceFilter filter;
  filter.exclude = &exclude;
  copy("d", "/dst", filter);
  EXPECT_TRUE(exists("dst/skip/keep"));
  EXPECT_FALSE(exists("dst/skip/a"));
  EXPECT_FALSE(exists("dst/gone"));
}

TEST_F(CopyTree, CountsTheFilesForOneNameAndRefusesThemInTheEnd) {
  writeFile(from_.get(), "a", "1");
  writeFile(from_.get(), "b", "2");
  FolderDestination target{to_.get()};
  TreeCopier copier{target, options_};
  const SourceFilter filter;
  const Fd a = sys::openat(from_.get(), "a", O_PATH);
  const Fd b = sys::openat(from_.get(), "b", O_PATH);
  copier.copy({a.get(), "a", "a", "a"}, "/x", filter);
  EXPECT_NO_THROW(copier.throwIfCrowded());
  copier.copy({b.get(), "b", "b", "b"}, "/x", filter);
  copier.writeFile("c", "3", "/x");
  try {
    copier.throwIfCrowded();
    FAIL() << "accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.cause(), "3 files would be written to /x; end it with \"/\"");
  }
}

}  // namespace
}  // namespace img::builder
