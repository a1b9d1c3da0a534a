#include "cli/copy_place.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "base/fs.h"
#include "base/sys.h"

namespace img::cli {
namespace {

struct ArgumentCase {
  std::string_view argument, container, path;
};
void PrintTo(const ArgumentCase& c, std::ostream* out) {
  *out << c.argument;
}

constexpr ArgumentCase kArguments[] = {
    {"c:/etc/passwd", "c", "/etc/passwd"},
    {"c:etc", "c", "etc"},
    {"/a:b", "", "/a:b"},
    {"./a:b", "", "./a:b"},
    {"../a:b", "", "../a:b"},
    {"plain", "", "plain"},
    {"-", "", "-"},
    {"c:", "c", ""},
    {"c:/a:b", "c", "/a:b"},
};
class Argument : public testing::TestWithParam<ArgumentCase> {};
TEST_P(Argument, NamesAContainerOrNot) {
  const CopyArgument parsed = parseCopyArgument(GetParam().argument);
  EXPECT_EQ(parsed.container, GetParam().container);
  EXPECT_EQ(parsed.path, GetParam().path);
}
INSTANTIATE_TEST_SUITE_P(Forms, Argument, testing::ValuesIn(kArguments));

// A root with files, folders and links, good and hostile; and a folder outside of it.
class Place : public testing::Test {
 protected:
  void SetUp() override {
    for (const char* folder : {"root", "root/dir", "root/dir/sub", "outside"}) {
      sys::mkdirat(top.fd(), folder, 0755);
    }
    for (const char* file : {"root/file", "root/dir/inner", "outside/secret"}) {
      sys::openat(top.fd(), file, O_WRONLY | O_CREAT, 0644).close(file);
    }
    const std::pair<const char*, const char*> links[] = {
        {"dir", "root/toDir"},         {"file", "root/toFile"},
        {"../outside", "root/escape"}, {"/outside/secret", "root/absolute"},
        {"dir/made", "root/dangling"}, {"/nowhere/made", "root/lost"},
        {"loop", "root/loop"}};
    for (const auto& [target, name] : links) sys::symlinkat(target, top.fd(), name);
    rootFd = sys::openDirectory(top.fd(), "root");
  }
  // "FOLDER NAME", "FOLDER/." for the folder itself, or the error.
  std::string target(const std::string& path, const std::string& source) {
    try {
      const CopyTree tree = CopyTree::ofContainer(rootFd.get());
      const CopyTarget found = findTarget(tree, path, findSource(tree, source, false));
      return shown(found.folder) + (found.isFilled ? "/." : " " + found.name);
    } catch (const Error& error) {
      return "! " + error.cause();
    }
  }
  std::string source(const std::string& path, bool follow = false) {
    try {
      const CopySource found = findSource(CopyTree::ofContainer(rootFd.get()), path, follow);
      return shown(found.handle) + " as " + found.name + (found.isContent ? "/." : "");
    } catch (const Error& error) {
      return "! " + error.cause();
    }
  }
  std::string shown(const Fd& fd) {
    return sys::readlinkat(AT_FDCWD, sys::procPath(fd.get())).substr(top.path().size());
  }

  fs::TempDir top;
  Fd rootFd;
};

TEST_F(Place, SourcesFollowTheLastLinkOnlyWhenAsked) {
  EXPECT_EQ(source("/file"), "/root/file as file");
  EXPECT_EQ(source("toFile"), "/root/toFile as toFile");
  EXPECT_EQ(source("toFile", true), "/root/file as toFile");
  EXPECT_EQ(source("toDir/"), "/root/dir as toDir");
  EXPECT_EQ(source("toDir/inner"), "/root/dir/inner as inner");
  EXPECT_EQ(source("dir/."), "/root/dir as dir/.");
  EXPECT_EQ(source("/"), "/root as root/.");
  EXPECT_EQ(source("nope"), "! \"nope\" does not exist in the container");
  EXPECT_EQ(source("file/"), "! \"file/\" does not exist in the container");
}

TEST_F(Place, LinksThatLeadOutStayInside) {
  EXPECT_EQ(source("escape/secret"), "! \"escape/secret\" does not exist in the container");
  EXPECT_EQ(source("absolute", true), "! \"absolute\" does not exist in the container");
  EXPECT_EQ(source("../../outside/secret"),
            "! \"../../outside/secret\" does not exist in the container");
  EXPECT_EQ(target("escape/x", "file").substr(0, 1), "!");
}

TEST_F(Place, TargetsTakeTheFilesNameOrTheFoldersInside) {
  EXPECT_EQ(target("/new", "file"), "/root new");
  EXPECT_EQ(target("/dir", "file"), "/root/dir file");
  EXPECT_EQ(target("toDir", "file"), "/root/dir file");
  EXPECT_EQ(target("dir/inner", "file"), "/root/dir inner");
  EXPECT_EQ(target("toFile", "dir/inner"), "/root file");
  EXPECT_EQ(target("dangling", "file"), "/root/dir made");
  EXPECT_EQ(target("new/", "file"), "! \"new/\" does not exist in the container");
  EXPECT_EQ(target("file/", "file"), "! \"file/\" is not a directory");
  EXPECT_EQ(target("lost", "file"), "! \"/nowhere\" does not exist in the container");
  EXPECT_EQ(target("no/such/x", "file"), "! \"no/such\" does not exist in the container");
  EXPECT_EQ(target("loop", "file"), "! \"loop\" is a loop of symbolic links");
}

TEST_F(Place, FoldersGoIntoFoldersOrBecomeThem) {
  EXPECT_EQ(target("/new", "dir"), "/root new");
  EXPECT_EQ(target("/new/", "dir"), "/root new");
  EXPECT_EQ(target("/", "dir"), "/root dir");
  EXPECT_EQ(target("dir", "dir/sub"), "/root/dir sub");
  EXPECT_EQ(target("/", "dir/."), "/root/.");
  EXPECT_EQ(target("new", "dir/."), "/root new");
  EXPECT_EQ(target("file", "dir"), "! cannot copy a directory to the file \"file\"");
}

}  // namespace
}  // namespace img::cli
