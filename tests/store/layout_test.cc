#include "store/layout.h"

#include <sched.h>
#include <sys/mount.h>
#include <sys/wait.h>

#include "base/process.h"
#include "base/sys.h"
#include "tests/store/store_fixture.h"

namespace img::store {
namespace {

using test::errorOf;

std::string read(const std::string& path) {
  return fs::readFile(AT_FDCWD, path);
}
void write(const std::string& path, std::string_view text) {
  fs::replaceFile(AT_FDCWD, path, text, 0644, fs::Sync::none);
}

TEST(Layout, CreatesAValidOciLayoutThatOnlyItsOwnerMayEnter) {
  const fs::TempDir dir;
  const Layout layout = Layout::open(dir.path() + "/deep/er/store");
  EXPECT_EQ(read(layout.root() + "/oci-layout"), R"({"imageLayoutVersion":"1.0.0"})");
  EXPECT_EQ(
      read(layout.root() + "/index.json"),
      R"({"manifests":[],"mediaType":"application/vnd.oci.image.index.v1+json","schemaVersion":2})");
  EXPECT_EQ(read(layout.root() + "/version"), "1\n");
  EXPECT_EQ(sys::fstatat(AT_FDCWD, layout.root()).st_mode & 07777, 0700U);
  for (const char* name :
       {"blobs/sha256", "layers", "ingest", "cache/steps", "containers", "volumes", "trash"}) {
    EXPECT_TRUE(S_ISDIR(sys::fstatat(layout.fd(), name).st_mode)) << name;
  }
}

TEST(Layout, OpensAStoreAgainWithoutChangingIt) {
  const fs::TempDir dir;
  { const Layout first = Layout::open(dir.path() + "/s"); }
  const auto before = sys::fstatat(AT_FDCWD, dir.path() + "/s");
  const Layout again = Layout::open(dir.path() + "/s/");
  EXPECT_EQ(again.root(), dir.path() + "/s");
  EXPECT_EQ(sys::fstatat(AT_FDCWD, dir.path() + "/s").st_mtim.tv_nsec, before.st_mtim.tv_nsec);
}

TEST(Layout, MakesFoldersAgainThatSomebodyRemoved) {
  const fs::TempDir dir;
  { const Layout first = Layout::open(dir.path() + "/s"); }
  for (const char* name : {"layers", "cache", "trash", "ingest"})
    fs::removeTree(AT_FDCWD, dir.path() + "/s/" + name);
  const Layout layout = Layout::open(dir.path() + "/s");
  for (const char* name : {"layers", "cache/steps", "cache/stat", "trash", "ingest"})
    EXPECT_TRUE(sys::tryFstatat(layout.fd(), name)) << name;
}

TEST(Layout, TakesOverAnEmptyFolderAndALayoutOfAnotherTool) {
  const fs::TempDir dir;
  write(dir.path() + "/oci-layout", R"({"imageLayoutVersion": "1.0.0"})");
  write(dir.path() + "/index.json", R"({"schemaVersion":2,"manifests":[]})");
  const Layout layout = Layout::open(dir.path());
  EXPECT_EQ(read(dir.path() + "/index.json"), R"({"schemaVersion":2,"manifests":[]})");
  EXPECT_EQ(read(dir.path() + "/version"), "1\n");
}

TEST(Layout, RefusesAFolderWithForeignThingsInIt) {
  const fs::TempDir dir;
  write(dir.path() + "/letter.txt", "dear");
  const Error error = errorOf([&] { std::ignore = Layout::open(dir.path()); });
  EXPECT_NE(error.cause().find("letter.txt"), std::string::npos);
  EXPECT_FALSE(error.hints().empty());
  EXPECT_EQ(fs::list(dir.fd()).size(), 1U);
}

TEST(Layout, RefusesANewerVersionAndTouchesNothing) {
  const fs::TempDir dir;
  write(dir.path() + "/version", "2\n");
  EXPECT_EQ(errorOf([&] { std::ignore = Layout::open(dir.path()); }).kind(), Kind::unsupported);
  EXPECT_EQ(fs::list(dir.fd()).size(), 1U);
}

TEST(Layout, RefusesAVersionThatIsNoNumber) {
  const fs::TempDir dir;
  write(dir.path() + "/version", "one");
  EXPECT_EQ(errorOf([&] { std::ignore = Layout::open(dir.path()); }).kind(), Kind::corrupt);
}

TEST(Layout, IsCreatedByManyProcessesAtOnce) {
  const fs::TempDir dir;
  const std::string root = dir.path() + "/store";
  std::vector<Child> children;
  for (int i = 0; i < 20; ++i) {
    children.push_back(Child::fork([&] {
      const Layout layout = Layout::open(root);
      return fs::readFile(layout.fd(), "index.json").substr(0, 13);
    }));
  }
  for (Child& child : children) EXPECT_EQ(child.finish(), R"({"manifests":)");
}

TEST(Layout, RecoverRemovesWhatNobodyHoldsAndKeepsTheRest) {
  const fs::TempDir dir;
  const Layout layout = Layout::open(dir.path() + "/store");
  const IngestDir alive{layout};
  fs::replaceFile(layout.ingest(), "dead-file", "x", 0600, fs::Sync::none);
  sys::mkdirat(layout.ingest(), "dead-folder", 0700);
  fs::replaceFile(layout.ingest(), "dead-folder/inside", "x", 0600, fs::Sync::none);
  sys::mkdirat(layout.fd(), "trash/old", 0700);
  layout.recover();
  const auto left = fs::list(layout.ingest());
  ASSERT_EQ(left.size(), 1U);
  EXPECT_EQ(left[0].name, alive.name());
  EXPECT_TRUE(fs::list(sys::openDirectory(layout.fd(), "trash").get()).empty());
}

TEST(Layout, RecoverRemovesTheFolderOfAKilledProcess) {
  const fs::TempDir dir;
  const Layout layout = Layout::open(dir.path() + "/store");
  Child child = Child::fork([&]() -> std::string {
    const IngestDir folder{layout};
    sys::mkdirat(folder.fd(), "fs", 0755);
    ::raise(SIGKILL);
    return {};
  });
  EXPECT_THROW(child.finish(), Error);
  EXPECT_EQ(fs::list(layout.ingest()).size(), 1U);
  layout.recover();
  EXPECT_TRUE(fs::list(layout.ingest()).empty());
}

TEST(StoreUse, NeedsNoLockWhereNothingCanBeRemoved) {
  if (!test::isRoot()) GTEST_SKIP() << "mounting needs root";
  const fs::TempDir dir;
  const std::string root = dir.path() + "/s";
  { const Layout first = Layout::open(root); }
  Child child = Child::fork([&root] {
    sys::unshare(CLONE_NEWNS);
    sys::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr);
    sys::mount(root.c_str(), root.c_str(), nullptr, MS_BIND, nullptr);
    sys::mount(nullptr, root.c_str(), nullptr, MS_BIND | MS_REMOUNT | MS_RDONLY, nullptr);
    const Layout layout = Layout::open(root);
    const StoreUse use{layout};
    return std::string{"open"};
  });
  EXPECT_EQ(child.finish(), "open");
}

TEST(IngestDir, RemovesItselfUnlessItWasRenamedAway) {
  const fs::TempDir dir;
  const Layout layout = Layout::open(dir.path() + "/store");
  { const IngestDir folder{layout}; }
  EXPECT_TRUE(fs::list(layout.ingest()).empty());
  {
    IngestDir folder{layout};
    sys::renameat(layout.ingest(), folder.name(), layout.layers(), "x");
    folder.release();
  }
  EXPECT_TRUE(sys::tryFstatat(layout.layers(), "x"));
}

}  // namespace
}  // namespace img::store
