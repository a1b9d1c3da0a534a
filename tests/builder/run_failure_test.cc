#include "builder/run_failure.h"

#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/process.h"
#include "base/sys.h"

namespace img::builder {
namespace {

class RunFailure : public testing::Test {
 protected:
  Error told() { return runFailure(outcome_, layout_); }

  fs::TempDir temp_;
  store::Layout layout_ = store::Layout::open(temp_.path() + "/store");
  RunOutcome outcome_{"/bin/sh -c make", {2, 0}, {"a", "b"}, false, {}, {}, false};
};

TEST_F(RunFailure, NamesTheCommandAndItsExitCode) {
  const Error error = told();
  EXPECT_EQ(error.cause(), "RUN failed with exit code 2");
  EXPECT_EQ(error.exitCode(), 2);
  EXPECT_EQ(error.why(), "the command \"/bin/sh -c make\" returned 2");
  EXPECT_EQ(error.logTail(), outcome_.lastLines);
  EXPECT_TRUE(error.hints().empty());
}

TEST_F(RunFailure, NamesTheSignal) {
  outcome_.status = {139, 11};
  EXPECT_EQ(told().cause(), "RUN was killed by SIGSEGV");
  EXPECT_EQ(told().exitCode(), 139);
  EXPECT_EQ(told().why(), "");
}

TEST_F(RunFailure, NamesLimitAndPeakOfAStepOutOfMemory) {
  outcome_.status = {137, 9};
  outcome_.isOutOfMemory = true;
  EXPECT_EQ(told().code(), "oom");
  EXPECT_EQ(told().why(), "killed by the kernel for memory");
  EXPECT_TRUE(told().hints().empty()) << "nobody set a limit that could be raised";
  outcome_.memoryLimit = 32 << 20;
  EXPECT_EQ(told().why(), "killed by the kernel for memory: limit 32m");
  EXPECT_EQ(told().hints().size(), 1u);
  outcome_.memoryPeak = (31 << 20) + (1 << 19);
  EXPECT_EQ(told().why(), "killed by the kernel for memory: limit 32m, peak use 31.5m");
  outcome_.memoryLimit.reset();
  EXPECT_EQ(told().why(), "killed by the kernel for memory: peak use 31.5m");
}

TEST_F(RunFailure, SpeaksOfTheNetworkOnlyWhenThereIsNone) {
  outcome_.lastLines = {"wget: bad address 'example.org'"};
  EXPECT_TRUE(told().hints().empty());
  outcome_.isWithoutNetwork = true;
  EXPECT_EQ(told().hints().size(), 1u);
}

TEST_F(RunFailure, SpeaksOfTheIdsOnlyWhereThereIsOne) {
  for (const char* line :
       {"chown: /f: Invalid argument", "su: can't set groups: Operation not permitted",
        "E: setgroups 65534 failed - setgroups (1: Operation not permitted)"}) {
    outcome_.lastLines = {line};
    outcome_.hasOneId = false;
    EXPECT_TRUE(told().hints().empty()) << line;
    outcome_.hasOneId = true;
    ASSERT_EQ(told().hints().size(), 1u) << line;
    EXPECT_NE(told().hints().front().find("/etc/subuid"), std::string::npos);
  }
  outcome_.lastLines = {"make: *** [all] Error 2"};
  EXPECT_TRUE(told().hints().empty());
}

TEST_F(RunFailure, BelievesThatTheDiskIsFullOnlyWhenItIs) {
  if (::geteuid() != 0) GTEST_SKIP() << "mounting needs root";
  outcome_.lastLines = {"dd: error writing '/big': No space left on device"};
  EXPECT_EQ(told().code(), "") << "it met the end of another file system";
  const std::string disk = temp_.path() + "/disk";
  sys::mkdirat(AT_FDCWD, disk, 0755);
  Child child = Child::fork([&] {
    sys::unshare(CLONE_NEWNS);
    sys::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr);
    sys::mount("tmpfs", disk, "tmpfs", 0, "size=1m,nr_inodes=100");
    const store::Layout small = store::Layout::open(disk);
    const Error error = runFailure(outcome_, small);
    if (error.code() != "no-space" || error.hints().size() != 1) throw Error{error};
    return error.why();
  });
  const std::string why = child.finish();
  EXPECT_EQ(why.find("the file system of " + disk + " (tmpfs) has "), 0u) << why;
  EXPECT_NE(why.find(" inodes free"), std::string::npos) << why;
}

}  // namespace
}  // namespace img::builder
