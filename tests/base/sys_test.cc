#include "base/sys.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>

#include "base/fs.h"
#include "base/process.h"

namespace img::sys {
namespace {

template <class Work>
int errnumOf(const Work& work) {
  try {
    work();
  } catch (const Error& error) {
    return error.errnum();
  }
  return 0;
}

// root/ is what a container or a layer controls; secret lies outside.
class Inside : public testing::Test {
 protected:
  void SetUp() override {
    fs::replaceFile(dir.fd(), "secret", "outside", 0600, fs::Sync::none);
    (void)fs::makeDirs(dir.fd(), "root/etc");
    root = openDirectory(dir.fd(), "root");
    fs::replaceFile(root.get(), "secret", "inside", 0600, fs::Sync::none);
    fs::replaceFile(root.get(), "etc/file", "file", 0600, fs::Sync::none);
  }
  [[nodiscard]] std::string inRoot(const std::string& path) const {
    return readAll(openInRoot(root.get(), path, O_RDONLY).get(), path);
  }

  fs::TempDir dir;
  Fd root;
};

TEST_F(Inside, OpenInRootResolvesDotDotAndAbsoluteLinksBelowTheRoot) {
  symlinkat("/secret", root.get(), "absolute");
  symlinkat("../../../secret", root.get(), "etc/relative");
  symlinkat("/..", root.get(), "up");
  for (const char* path : {"secret", "/secret", "../secret", "etc/../../../secret", "absolute",
                           "etc/relative", "up/secret", "up/absolute"}) {
    EXPECT_EQ(inRoot(path), "inside") << path;
  }
  EXPECT_EQ(inRoot("etc/../etc/file"), "file");
}

TEST_F(Inside, OpenInRootCreatesBelowTheRootOnly) {
  symlinkat("/created", root.get(), "link");
  (void)openInRoot(root.get(), "link", O_WRONLY | O_CREAT, 0600);
  EXPECT_TRUE(tryFstatat(root.get(), "created"));
  EXPECT_FALSE(tryFstatat(AT_FDCWD, "/created"));
}

TEST_F(Inside, OpenInRootTakesNoMagicLinks) {
  const Fd proc = openDirectory(AT_FDCWD, "/proc");
  EXPECT_EQ(errnumOf([&] { (void)openInRoot(proc.get(), "self/exe", O_RDONLY); }), ELOOP);
  EXPECT_EQ(errnumOf([&] { (void)openInRoot(proc.get(), "self/root/etc", O_RDONLY); }), ELOOP);
}

TEST_F(Inside, TryOpenInRootGivesNothingForWhatIsMissing) {
  EXPECT_FALSE(tryOpenInRoot(root.get(), "missing", O_RDONLY));
  EXPECT_FALSE(tryOpenInRoot(root.get(), "etc/file/below", O_RDONLY));
  EXPECT_TRUE(tryOpenInRoot(root.get(), "etc/file", O_RDONLY));
  symlinkat("loop", root.get(), "loop");
  EXPECT_EQ(errnumOf([&] { (void)tryOpenInRoot(root.get(), "loop", O_RDONLY); }), ELOOP);
}

TEST_F(Inside, OpenBeneathRefusesEveryWayOutAndEveryLink) {
  symlinkat("etc", root.get(), "link");
  symlinkat("/secret", root.get(), "absolute");
  const auto open = [&](const std::string& path) {
    return errnumOf([&] { (void)openBeneath(root.get(), path, O_RDONLY); });
  };
  EXPECT_EQ(open("etc/file"), 0);
  EXPECT_EQ(open("etc/../secret"), 0) << "stays inside";
  EXPECT_EQ(open("../secret"), EXDEV);
  EXPECT_EQ(open("etc/../../secret"), EXDEV);
  EXPECT_EQ(open("/secret"), EXDEV);
  EXPECT_EQ(open("link/file"), ELOOP);
  EXPECT_EQ(open("absolute"), ELOOP);
  EXPECT_EQ(open("missing"), ENOENT);
}

TEST_F(Inside, EveryOpenIsCloseOnExec) {
  const Fd all[] = {openat(root.get(), "secret", O_RDONLY),
                    openInRoot(root.get(), "secret", O_RDONLY),
                    openInRoot(root.get(), "secret", O_PATH),
                    openBeneath(root.get(), "secret", O_RDONLY), openDirectory(dir.fd(), "root")};
  for (const Fd& fd : all) EXPECT_NE(::fcntl(fd.get(), F_GETFD) & FD_CLOEXEC, 0);
}

TEST_F(Inside, ReopenTurnsAPathDescriptorIntoOneForReading) {
  const Fd path = openInRoot(root.get(), "secret", O_PATH);
  EXPECT_EQ(errnumOf([&] { readAll(path.get(), "secret"); }), EBADF);
  EXPECT_EQ(readAll(reopen(path.get(), O_RDONLY).get(), "secret"), "inside");
}

TEST_F(Inside, ErrorsNameTheCallAndItsObject) {
  try {
    (void)openat(root.get(), "etc/missing", O_RDONLY);
    ADD_FAILURE() << "opened";
  } catch (const Error& error) {
    EXPECT_EQ(error.cause(), "open etc/missing: No such file or directory (ENOENT)");
    EXPECT_EQ(error.kind(), Kind::notFound);
  }
}

TEST_F(Inside, RenameNoReplaceKeepsWhatIsThere) {
  EXPECT_TRUE(renameNoReplace(root.get(), "etc/file", root.get(), "moved"));
  EXPECT_FALSE(renameNoReplace(root.get(), "moved", root.get(), "secret"));
  EXPECT_EQ(inRoot("secret"), "inside");
  EXPECT_EQ(inRoot("moved"), "file");
  EXPECT_FALSE(renameNoReplace(root.get(), "moved", root.get(), "etc"));
  EXPECT_EQ(errnumOf([&] { renameNoReplace(root.get(), "gone", root.get(), "x"); }), ENOENT);
}

TEST_F(Inside, TryCallsSayWhetherThereWasSomethingToDo) {
  EXPECT_FALSE(tryMkdirat(root.get(), "etc", 0755));
  EXPECT_TRUE(tryMkdirat(root.get(), "new", 0755));
  EXPECT_TRUE(tryUnlinkat(root.get(), "new", AT_REMOVEDIR));
  EXPECT_FALSE(tryUnlinkat(root.get(), "new", AT_REMOVEDIR));
  EXPECT_EQ(errnumOf([&] { tryUnlinkat(root.get(), "etc", AT_REMOVEDIR); }), ENOTEMPTY);
  EXPECT_FALSE(tryOpenat(root.get(), "missing", O_RDONLY));
  EXPECT_FALSE(tryFstatat(root.get(), "secret/below"));
}

TEST_F(Inside, StatAndTimesDoNotFollowTheLastLink) {
  symlinkat("secret", root.get(), "link");
  EXPECT_TRUE(S_ISLNK(fstatat(root.get(), "link").st_mode));
  const timespec stamp{1234, 567};
  utimensat(root.get(), "link", stamp, stamp);
  EXPECT_EQ(fstatat(root.get(), "link").st_mtim.tv_sec, 1234);
  EXPECT_EQ(fstatat(root.get(), "link").st_mtim.tv_nsec, 567);
  EXPECT_NE(fstatat(root.get(), "secret").st_mtim.tv_sec, 1234);
}

TEST_F(Inside, ReadlinkatGivesLongTargetsWhole) {
  for (const size_t size : {size_t{1}, size_t{255}, size_t{256}, size_t{257}, size_t{4000}}) {
    const std::string target(size, 't');
    symlinkat(target, root.get(), "long");
    EXPECT_EQ(readlinkat(root.get(), "long"), target);
    unlinkat(root.get(), "long", 0);
  }
}

TEST_F(Inside, XattrsAreSetListedAndReadWhole) {
  const Fd fd = openat(root.get(), "secret", O_RDONLY);
  const std::string name = ::geteuid() == 0 ? "trusted.img" : "user.img";
  EXPECT_EQ(fgetxattr(fd.get(), name), std::nullopt);
  const std::string large(3000, 'v');
  try {
    fsetxattr(fd.get(), name, std::string_view{"a\0b", 3});
  } catch (const Error& error) {
    if (error.kind() != Kind::unsupported) throw;
    GTEST_SKIP() << "no extended attributes here";
  }
  EXPECT_EQ(fgetxattr(fd.get(), name), (std::string{"a\0b", 3}));
  fsetxattr(fd.get(), name + ".empty", "");
  fsetxattr(fd.get(), name, large);
  EXPECT_EQ(fgetxattr(fd.get(), name + ".empty"), "");
  EXPECT_EQ(fgetxattr(fd.get(), name), large);
  const std::vector<std::string> names = flistxattr(fd.get());
  EXPECT_NE(std::find(names.begin(), names.end(), name), names.end());
  EXPECT_NE(std::find(names.begin(), names.end(), name + ".empty"), names.end());
}

TEST_F(Inside, TryFlockIsRefusedWhileAnotherDescriptorHoldsTheFile) {
  const Fd first = openat(root.get(), "secret", O_RDONLY);
  const Fd second = openat(root.get(), "secret", O_RDONLY);
  EXPECT_TRUE(tryFlock(first.get(), true));
  EXPECT_FALSE(tryFlock(second.get(), false));
}

TEST(Sys, ADescriptorPassesThroughASocket) {
  const auto [ours, theirs] = socketPair();
  const Pipe pipe = Pipe::make();
  sendFd(ours.get(), pipe.write.get());
  const Fd received = receiveFd(theirs.get());
  EXPECT_NE(::fcntl(received.get(), F_GETFD) & FD_CLOEXEC, 0);
  writeAll(received.get(), "x", "pipe");
  char byte = 0;
  EXPECT_EQ(::read(pipe.read.get(), &byte, 1), 1);
  EXPECT_EQ(byte, 'x');
}

TEST(Sys, ReceivingFromAClosedSocketIsAnError) {
  auto [ours, theirs] = socketPair();
  ours.reset();
  EXPECT_THROW((void)receiveFd(theirs.get()), Error);
}

TEST(Sys, SignallingAGoneProcessIsNoError) {
  Child child = Child::fork([] { return std::string{}; });
  const Fd pidfd = pidfdOpen(child.pid());
  child.finish();
  EXPECT_FALSE(pidfdSendSignal(pidfd.get(), 0));
}

TEST(Sys, NonBlockingIsSwitchedOnAndOff) {
  const Pipe pipe = Pipe::make();
  setNonBlocking(pipe.read.get(), true);
  char byte = 0;
  EXPECT_EQ(::read(pipe.read.get(), &byte, 1), -1);
  EXPECT_EQ(errno, EAGAIN);
  setNonBlocking(pipe.read.get(), false);
  EXPECT_EQ(::fcntl(pipe.read.get(), F_GETFL) & O_NONBLOCK, 0);
}

TEST(Sys, CheckRepeatsAnInterruptedCallAndKeepsErrno) {
  int calls = 0;
  const int result = check(
      [&] {
        errno = EINTR;
        return ++calls < 3 ? -1 : 7;
      },
      "call");
  EXPECT_EQ(result, 7);
  EXPECT_EQ(calls, 3);
  EXPECT_EQ(errnumOf([] {
              check(
                  [] {
                    errno = ENOTTY;
                    return -1;
                  },
                  "call");
            }),
            ENOTTY);
}

}  // namespace
}  // namespace img::sys
