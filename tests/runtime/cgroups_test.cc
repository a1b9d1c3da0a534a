#include "runtime/cgroups.h"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

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
  EXPECT_EQ(cgroupNameOf(container.pid()), name_);
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

// A made-up version 2 tree: what is written where.
class MadeUpTree : public testing::Test {
 protected:
  void put(const std::string& path, const std::string& content) const {
    const size_t slash = path.rfind('/');
    if (slash != std::string::npos) std::ignore = fs::makeDirs(tree_.fd(), path.substr(0, slash));
    writeAll(sys::openat(tree_.fd(), path, O_WRONLY | O_CREAT | O_TRUNC, 0644).get(), content,
             path);
  }
  std::string get(const std::string& path) const {
    return fs::tryReadFile(tree_.fd(), path).value_or("(missing)");
  }
  // The kernel makes the files of a new group by itself; here they exist beforehand.
  void prepareV2() const {
    put("cgroup.controllers", "cpuset cpu memory pids\n");
    put("cgroup.subtree_control", "");
    put("img/cgroup.subtree_control", "");
    for (const char* file : {"cgroup.procs", "memory.max", "memory.swap.max", "cpu.max",
                             "cpu.weight", "pids.max", "cpuset.cpus"}) {
      put(std::string{"img/c/"} + file, "");
    }
  }
  fs::TempDir tree_;
};

TEST_F(MadeUpTree, TakesVersion2Limits) {
  prepareV2();
  Limits limits;
  limits.memory = 64 << 20;
  limits.cpuShares = 1024;
  limits.cpuQuota = 150000;
  limits.cpusetCpus = "0-1";
  const auto group = CgroupTree{tree_.path()}.create("c", limits);
  ASSERT_TRUE(group);
  EXPECT_TRUE(group->isUnified);
  EXPECT_TRUE(group->entries.empty());
  EXPECT_EQ(get("img/c/memory.max"), "67108864");
  EXPECT_EQ(get("img/c/memory.swap.max"), "67108864") << "twice the memory in all";
  EXPECT_EQ(get("img/c/cpu.weight"), "39");
  EXPECT_EQ(get("img/c/cpu.max"), "150000 100000");
  EXPECT_EQ(get("img/c/cpuset.cpus"), "0-1");
  EXPECT_EQ(get("img/c/pids.max"), "2048") << "the default";
}

TEST_F(MadeUpTree, HasNoSwapLimitWhenUnlimited) {
  prepareV2();
  Limits limits;
  limits.memory = 64 << 20;
  limits.memorySwap = -1;
  limits.pids = -1;
  std::ignore = CgroupTree{tree_.path()}.create("c", limits);
  EXPECT_EQ(get("img/c/memory.swap.max"), "max");
  EXPECT_EQ(get("img/c/pids.max"), "max");
}

TEST_F(MadeUpTree, RefusesALimitWithoutItsController) {
  put("cgroup.controllers", "cpu\n");
  put("img/c/cgroup.procs", "");
  Limits limits;
  limits.memory = 64 << 20;
  try {
    std::ignore = CgroupTree{tree_.path()}.create("c", limits);
    FAIL() << "the limit was dropped silently";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), "cgroup");
    EXPECT_NE(error.why().find("memory"), std::string::npos) << error.why();
  }
}

TEST_F(MadeUpTree, SplitsAHybridSetupByController) {
  put("unified/cgroup.controllers", "\n");
  put("unified/img/c/cgroup.procs", "");
  put("memory/cgroup.procs", "");
  put("memory/img/c/cgroup.procs", "");
  put("memory/img/c/memory.limit_in_bytes", "");
  put("memory/img/c/memory.memsw.limit_in_bytes", "");
  Limits limits;
  limits.memory = 64 << 20;
  const auto group = CgroupTree{tree_.path()}.create("c", limits);
  ASSERT_TRUE(group);
  EXPECT_FALSE(group->isUnified);
  EXPECT_EQ(group->entries.size(), 1U);
  EXPECT_TRUE(group->into);
  EXPECT_EQ(get("memory/img/c/memory.limit_in_bytes"), "67108864");
  EXPECT_EQ(get("memory/img/c/memory.memsw.limit_in_bytes"), "134217728");
}

TEST_F(MadeUpTree, TellsTheOutOfMemoryKillerFromItsCounters) {
  prepareV2();
  Cgroup group = CgroupTree{tree_.path()}.find("c");
  EXPECT_FALSE(group.outOfMemory());
  put("img/c/memory.events", "low 0\noom 3\noom_kill 1\n");
  EXPECT_TRUE(group.outOfMemory());
}

TEST_F(MadeUpTree, OffersNothingWhereNothingIsMounted) {
  EXPECT_FALSE(CgroupTree{tree_.path()}.create("c", {}));
  EXPECT_THROW(CgroupTree{tree_.path()}.freeze("c"), Error);
}

}  // namespace
}  // namespace img::runtime::test
