#include "builder/deliver.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/sysmacros.h>
#include <sys/un.h>

#include <csignal>
#include <cstring>

#include "builder/foreign_platform.h"
#include "builder/tree_export.h"
#include "tests/builder/support.h"

namespace img::builder {
namespace {

// Two layers as folders, and a folder to export into.
class TreeExport : public testing::Test {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "needs root for whiteouts";
    for (const char* name : {"top", "bottom", "out"}) sys::mkdirat(temp.fd(), name, 0755);
    top = sys::openDirectory(temp.fd(), "top");
    bottom = sys::openDirectory(temp.fd(), "bottom");
    out = sys::openDirectory(temp.fd(), "out");
  }
  void run(const TreeExportOptions& options = {}) {
    TreeExporter exporter{out.get(), "out", options};
    exporter.add({top.get(), bottom.get()});
    skipped = exporter.skippedDevices();
  }
  [[nodiscard]] std::string read(const std::string& path) const {
    return fs::readFile(out.get(), path);
  }
  fs::TempDir temp;
  Fd top, bottom, out;
  std::vector<std::string> skipped;
};

TEST_F(TreeExport, ShowsTheUnion) {
  writeFile(bottom.get(), "d/kept", "1");
  writeFile(bottom.get(), "d/gone", "2");
  writeFile(bottom.get(), "d/changed", "3");
  writeFile(top.get(), "d/changed", "4");
  sys::mknodat(top.get(), "d/gone", S_IFCHR, makedev(0, 0));
  run();
  EXPECT_EQ(read("d/kept"), "1");
  EXPECT_EQ(read("d/changed"), "4");
  EXPECT_FALSE(sys::tryFstatat(out.get(), "d/gone"));
}

TEST_F(TreeExport, KeepsModesTimesAndHardLinks) {
  writeFile(top.get(), "a", "x", 04711);
  sys::linkat(top.get(), "a", top.get(), "b", 0);
  sys::utimensat(top.get(), "a", {5, 0}, {5, 6});
  run();
  const struct stat a = sys::fstatat(out.get(), "a");
  EXPECT_EQ(a.st_mode & 07777U, 04711U);
  EXPECT_EQ(a.st_mtim.tv_nsec, 6);
  EXPECT_EQ(a.st_ino, sys::fstatat(out.get(), "b").st_ino);
  run({.epoch = 99});
  EXPECT_EQ(sys::fstatat(out.get(), "a").st_mtim.tv_sec, 99);
}

TEST_F(TreeExport, NeverWritesThroughALink) {
  writeFile(temp.fd(), "victim/f", "untouched");
  writeFile(top.get(), "d/f", "new");
  writeFile(top.get(), "g", "new");
  sys::symlinkat(temp.path() + "/victim", out.get(), "d");
  sys::symlinkat("../victim/f", out.get(), "g");
  run();
  EXPECT_EQ(fs::readFile(temp.fd(), "victim/f"), "untouched");
  EXPECT_EQ(read("d/f"), "new");
  EXPECT_EQ(read("g"), "new");
}

TEST_F(TreeExport, AFolderWithContentGivesWayOnlyWhenOthersAreDeleted) {
  writeFile(top.get(), "x", "file");
  writeFile(out.get(), "x/mine", "1");
  EXPECT_THROW(run(), Error);
  EXPECT_EQ(read("x/mine"), "1");
  run({.deletesOthers = true});
  EXPECT_EQ(read("x"), "file");
}

TEST_F(TreeExport, LeavesOutDevices) {
  sys::mknodat(top.get(), "null", S_IFCHR | 0666, makedev(1, 3));
  run();
  EXPECT_EQ(skipped, std::vector<std::string>{"null"});
  EXPECT_FALSE(sys::tryFstatat(out.get(), "null"));
}

TEST_F(TreeExport, LeavesOutSockets) {
  const Fd listener{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::string path = temp.path() + "/top/socket";
  ASSERT_LT(path.size(), sizeof address.sun_path);
  std::memcpy(address.sun_path, path.data(), path.size());
  ASSERT_EQ(::bind(listener.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  run();
  EXPECT_TRUE(fs::list(out.get()).empty());
  EXPECT_TRUE(skipped.empty());
}

TEST_F(TreeExport, LeavesNoHalfFile) {
  writeFile(top.get(), "big", std::string(5000, 'x'));
  writeFile(out.get(), "old/big", "old");
  std::signal(SIGXFSZ, SIG_IGN);
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  const rlimit small{1000, before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  EXPECT_THROW(run(), Error);
  ::setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, SIG_DFL);
  ASSERT_EQ(fs::list(out.get()).size(), 1U);
  EXPECT_EQ(read("old/big"), "old");
}

TEST_F(TreeExport, TwoPlatformsMustNotWriteOneFile) {
  writeFile(top.get(), "same", "1");
  writeFile(bottom.get(), "same", "2");
  TreeExporter exporter{out.get(), "out", {.refusesConflicts = true}};
  exporter.add({top.get()});
  EXPECT_THROW(exporter.add({bottom.get()}), Error);
}

// Where an output cannot go, and what the message says. "@" is the test's folder.
struct BadPlace {
  const char* name;
  Output::Type type;
  const char* dest;
  const char* cause;
  friend void PrintTo(const BadPlace& bad, std::ostream* out) { *out << bad.name; }
};

class BadPlaces : public testing::TestWithParam<BadPlace>, public BuildFixture {};

TEST_P(BadPlaces, IsFoundBeforeTheFirstStep) {
  const BadPlace& bad = GetParam();
  writeFile(temp.fd(), "file", "x");
  Output output;
  output.type = bad.type;
  output.dest = bad.dest;
  output.dest.replace(0, 1, temp.path());
  request.output.outputs = {output};
  try {
    checkOutputs(request, layout);
    FAIL() << "accepted";
  } catch (const Error& error) {
    EXPECT_NE(error.cause().find(bad.cause), std::string::npos) << error.cause();
  }
}

INSTANTIATE_TEST_SUITE_P(
    All, BadPlaces,
    testing::Values(
        BadPlace{"NoFolder", Output::Type::tar, "@/none/x.tar", "does not exist"},
        BadPlace{"FileAsFolder", Output::Type::oci, "@/file/x.tar", "is not a folder"},
        BadPlace{"FolderBelowFile", Output::Type::local, "@/file/a/b", "is not a folder"},
        BadPlace{"FolderIsFile", Output::Type::local, "@/file", "is not a folder"},
        BadPlace{"TheStore", Output::Type::local, "@/store", "lies in the store"},
        BadPlace{"InTheStore", Output::Type::docker, "@/store/x.tar", "lies in the store"}),
    [](const auto& test) { return std::string{test.param.name}; });

TEST(GoodPlaces, AreFoldersThatAreMadeAndFilesInFoldersThatAreThere) {
  BuildFixture fixture;
  Request request;
  Output folder;
  folder.type = Output::Type::local;
  folder.dest = fixture.temp.path() + "/a/b/";
  Output file;
  file.type = Output::Type::tar;
  file.dest = fixture.temp.path() + "/x.tar";
  request.output.outputs = {folder, file};
  EXPECT_NO_THROW(checkOutputs(request, fixture.layout));
}

TEST(ForeignPlatform, RunsWithAHandlerOnly) {
  const fs::TempDir handlers;
  const store::Platform foreign{"linux", "s390x", "", ""};
  EXPECT_NO_THROW(requireRunnable(store::Platform::host()));
  try {
    requireRunnable(foreign, handlers.path());
    FAIL() << "accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), "arch");
    EXPECT_NE(error.cause().find("s390x"), std::string::npos);
    EXPECT_NE(error.why().find("binfmt_misc"), std::string::npos);
  }
  writeFile(handlers.fd(), "qemu-s390x", "disabled\n");
  EXPECT_THROW(requireRunnable(foreign, handlers.path()), Error);
  writeFile(handlers.fd(), "qemu-s390x", "enabled\ninterpreter /usr/bin/qemu-s390x\n");
  EXPECT_NO_THROW(requireRunnable(foreign, handlers.path()));
}

}  // namespace
}  // namespace img::builder
