#include "runtime/cgroups.h"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <tuple>

#include "base/sys.h"
#include "base/text.h"
#include "runtime/exec.h"
#include "tests/runtime/sandbox.h"

namespace img::runtime::test {
namespace {

class Cgroups : public Sandbox {
 protected:
  void SetUp() override {
    Sandbox::SetUp();
    if (IsSkipped()) return;
    name_ = "test-" + fs::randomHex(8);
    const auto probe = CgroupTree{}.create(name_, {});
    if (!probe) GTEST_SKIP() << "no cgroup can be written to";
    removeCgroup(name_);
  }
  std::string name_;
};

TEST_F(Cgroups, HoldTheContainerAndGoAwayWithIt) {
  Spec one = spec({"/bin/sleep", "100"});
  one.cgroupName = name_;
  Container container = start(one);
  EXPECT_EQ(processesOf(name_), std::vector<pid_t>{container.pid()});
  container.kill(9);
  container.wait();
  EXPECT_TRUE(CgroupTree{}.find(name_).folders.empty());
}

TEST_F(Cgroups, AreTheRootAsTheContainerSeesThem) {
  Spec one = shell("grep '^0:' /proc/self/cgroup");
  one.cgroupName = name_;
  const std::string out = run(one).out;
  EXPECT_TRUE(out == "0::/\n" || out.empty()) << out;
}

TEST_F(Cgroups, HoldFurtherProcessesToo) {
  Spec one = spec({"/bin/sleep", "100"});
  one.cgroupName = name_;
  const Container container = start(one);
  Spec two = spec({"/bin/sleep", "100"});
  const Container inside = execute(container.pidfd(), container.pid(), two);
  EXPECT_EQ(processesOf(name_).size(), 2U);
}

TEST_F(Cgroups, FreezeAndThaw) {
  Spec one = shell("while read line; do echo $line; done");
  Pipe in = Pipe::make();
  Pipe out = Pipe::make();
  one.standardInput = in.read.get();
  one.standardOutput = out.write.get();
  one.cgroupName = name_;
  const Container container = start(one);
  freeze(name_);
  writeAll(in.write.get(), std::string_view{"x\n"}, "input");
  pollfd answer{out.read.get(), POLLIN, 0};
  EXPECT_EQ(::poll(&answer, 1, 50), 0) << "it answered while it was frozen";
  thaw(name_);
  EXPECT_EQ(::poll(&answer, 1, 10000), 1);
}

TEST_F(Cgroups, KillEverythingEvenWhenFrozen) {
  Spec one = spec({"/bin/sleep", "100"});
  one.cgroupName = name_;
  Container container = start(one);
  freeze(name_);
  killAll(name_);
  EXPECT_EQ(container.wait().code, 137);
}

TEST_F(Cgroups, SetLimitsAndNoticeTheOutOfMemoryKiller) {
  Spec one = shell(
      "dd if=/dev/zero of=/dev/shm/big bs=1M count=64 2>/dev/null; sh -c 'x=$(head -c 60000000 "
      "/dev/zero | tr \"\\0\" x)'");
  one.cgroupName = name_;
  one.limits.memory = 16 << 20;
  one.limits.pids = 20;
  try {
    Container container = start(one);
    container.wait();
    EXPECT_TRUE(container.outOfMemory());
  } catch (const Error& error) {
    if (error.code() == "cgroup") GTEST_SKIP() << error.why();
    throw;
  }
}

TEST_F(Cgroups, LimitProcesses) {
  Spec one = shell("for i in 1 2 3 4 5 6 7 8; do sleep 5 & done 2>&1; echo done");
  one.cgroupName = name_;
  one.limits.pids = 4;
  try {
    const std::string out = run(one).out;
    EXPECT_NE(out.find("can't fork"), std::string::npos) << out;
  } catch (const Error& error) {
    if (error.code() == "cgroup") GTEST_SKIP() << error.why();
    throw;
  }
}

TEST_F(Cgroups, OfARunningProcessAreTheOnesAnotherMayEnter) {
  EXPECT_TRUE(CgroupTree{}.groupsOf(::getpid()).folders.empty()) << "we are there already";
  Spec one = spec({"/bin/sleep", "100"});
  one.cgroupName = name_;
  const Container container = start(one);
  const Cgroup found = CgroupTree{}.groupsOf(container.pid());
  EXPECT_EQ(found.name, name_);
  EXPECT_EQ(found.folders, CgroupTree{}.find(name_).folders);
}

TEST_F(Cgroups, LieBelowTheParentThatIsAskedFor) {
  const std::string parent = "/img-test-" + fs::randomHex(8);
  Spec one = spec({"/bin/sleep", "100"});
  one.cgroupName = parent + "/" + name_;
  std::vector<std::string> folders;
  {
    const Container container = start(one);
    folders = CgroupTree{}.find(one.cgroupName).folders;
    ASSERT_FALSE(folders.empty());
    EXPECT_TRUE(folders.front().ends_with(one.cgroupName)) << folders.front();
    EXPECT_EQ(openCgroup(folders).processes(), std::vector<pid_t>{container.pid()});
  }
  EXPECT_TRUE(openCgroup(folders).folders.empty()) << "it ended with its container";
  for (const std::string& folder : folders) {
    EXPECT_EQ(::rmdir(folder.substr(0, folder.rfind('/')).c_str()), 0) << folder;
  }
}

TEST_F(Cgroups, AreRemovedWithTheGroupsMadeBelowThem) {
  const auto group = CgroupTree{}.create(name_, {});
  ASSERT_TRUE(group);
  ASSERT_EQ(::mkdir((group->folders.front() + "/below").c_str(), 0755), 0);
  removeCgroup(name_);
  EXPECT_TRUE(CgroupTree{}.find(name_).folders.empty());
}

TEST_F(Cgroups, OfAKilledKeeperAreFoundByName) {
  std::ignore = CgroupTree{}.create(name_, {});
  const std::vector<std::string> names = CgroupTree{}.names();
  EXPECT_NE(std::find(names.begin(), names.end(), name_), names.end());
  CgroupTree{}.removeStale(name_, 3600);
  EXPECT_FALSE(CgroupTree{}.find(name_).folders.empty()) << "too young";
  CgroupTree{}.removeStale(name_, 0);
  EXPECT_TRUE(CgroupTree{}.find(name_).folders.empty());
}

TEST_F(Cgroups, KnowWhetherTheyAreFrozen) {
  Spec one = spec({"/bin/sleep", "100"});
  one.cgroupName = name_;
  const Container container = start(one);
  EXPECT_FALSE(CgroupTree{}.find(name_).isFrozen());
  freeze(name_);
  EXPECT_TRUE(CgroupTree{}.find(name_).isFrozen());
  thaw(name_);
  EXPECT_FALSE(CgroupTree{}.find(name_).isFrozen());
}

TEST_F(Cgroups, TakeALimitWhileTheyRunAndMoveTheirProcessesForIt) {
  Spec one = shell("sleep 100 & sleep 100");
  one.cgroupName = name_;
  Container container = start(one);
  Limits limits;
  limits.pids = 17;
  try {
    const Cgroup group = CgroupTree{}.update(name_, limits);
    const auto folder =
        std::find_if(group.folders.begin(), group.folders.end(), [](const std::string& candidate) {
          return ::access((candidate + "/pids.max").c_str(), F_OK) == 0;
        });
    ASSERT_NE(folder, group.folders.end());
    EXPECT_EQ(fs::readFile(AT_FDCWD, *folder + "/pids.max"), "17\n");
    EXPECT_EQ(openCgroup({*folder}).processes().size(), group.processes().size());
  } catch (const Error& error) {
    if (error.code() == "cgroup") GTEST_SKIP() << error.why();
    throw;
  }
  container.kill(9);
  container.wait();
  EXPECT_TRUE(CgroupTree{}.find(name_).folders.empty()) << "the late group is left behind";
}

TEST_F(Cgroups, ThatCannotBeMadeAreAnErrorWhenTheyAreRequired) {
  Spec one = spec({"/bin/true"});
  one.isCgroupRequired = true;  // and no name: nothing to make
  try {
    std::ignore = start(one);
    FAIL() << "it started";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), "cgroup");
    EXPECT_FALSE(error.hints().empty());
  }
}

}  // namespace
}  // namespace img::runtime::test
