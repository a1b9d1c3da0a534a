// Made-up trees: what is written where, in version 1, version 2 and mixed setups, as root and as
// somebody to whom a folder was delegated.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <functional>
#include <tuple>

#include "base/error.h"
#include "base/fs.h"
#include "base/sys.h"
#include "runtime/cgroup_limits.h"
#include "runtime/cgroups.h"

namespace img::runtime::test {
namespace {

class MadeUpTree : public testing::Test {
 protected:
  void SetUp() override {
    ::chmod(tree_.path().c_str(), 0755);
    put("cgroup.procs", "");
  }
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
  void prepareV2(const std::string& base = "") const {
    put("cgroup.controllers", "cpuset cpu io memory pids\n");
    put(base + "cgroup.controllers", "cpuset cpu io memory pids\n");
    put(base + "cgroup.subtree_control", "");
    put(base + "img/cgroup.subtree_control", "");
    for (const char* file :
         {"cgroup.procs", "memory.max", "memory.low", "memory.swap.max", "cpu.max", "cpu.weight",
          "pids.max", "cpuset.cpus", "cpuset.mems", "io.weight"}) {
      put(base + "img/c/" + file, "");
    }
  }
  void prepareV1(const std::string& hierarchy, const std::vector<std::string>& files) const {
    put(hierarchy + "/cgroup.procs", "");
    put(hierarchy + "/img/c/cgroup.procs", "");
    for (const std::string& file : files) put(hierarchy + "/img/c/" + file, "");
  }
  CgroupTree tree(const std::string& self = "0::/\n") const {
    return CgroupTree{tree_.path(), self};
  }
  static Limits memory(long long megabytes) {
    Limits limits;
    limits.memory = megabytes << 20;
    return limits;
  }
  // The error that the limits give.
  Error refusal(const Limits& limits, const std::string& self = "0::/\n") const {
    try {
      std::ignore = tree(self).create("c", limits);
    } catch (const Error& error) {
      return error;
    }
    ADD_FAILURE() << "the limit was dropped silently";
    return Error{Kind::failed, "none"};
  }
  fs::TempDir tree_;
};

TEST_F(MadeUpTree, TakesVersion2Limits) {
  prepareV2();
  Limits limits = memory(64);
  limits.memoryReservation = 32 << 20;
  limits.cpuShares = 1024;
  limits.cpuQuota = 150000;
  limits.cpusetCpus = "0-1";
  limits.cpusetMems = "0";
  limits.ioWeight = 500;
  const auto group = tree().create("c", limits);
  ASSERT_TRUE(group);
  EXPECT_TRUE(group->isUnified);
  EXPECT_TRUE(group->entries.empty());
  EXPECT_EQ(get("img/c/memory.max"), "67108864");
  EXPECT_EQ(get("img/c/memory.low"), "33554432");
  EXPECT_EQ(get("img/c/memory.swap.max"), "67108864") << "twice the memory in all";
  EXPECT_EQ(get("img/c/cpu.weight"), "39");
  EXPECT_EQ(get("img/c/cpu.max"), "150000 100000");
  EXPECT_EQ(get("img/c/cpuset.cpus"), "0-1");
  EXPECT_EQ(get("img/c/cpuset.mems"), "0");
  EXPECT_EQ(get("img/c/io.weight"), "4500");
  EXPECT_EQ(get("img/c/pids.max"), "2048") << "the default";
}

struct SwapCase {
  const char* name;
  long long sum;  // --memory-swap, with 64 MiB of memory
  const char* v2;
  const char* v1;
};
void PrintTo(const SwapCase& one, std::ostream* out) {
  *out << one.name;
}
class Swap : public MadeUpTree, public testing::WithParamInterface<SwapCase> {};

TEST_P(Swap, IsCountedAloneInVersion2) {
  prepareV2();
  Limits limits = memory(64);
  limits.memorySwap = GetParam().sum;
  std::ignore = tree().create("c", limits);
  EXPECT_EQ(get("img/c/memory.swap.max"), GetParam().v2);
}

TEST_P(Swap, IsCountedWithTheMemoryInVersion1) {
  prepareV1("memory", {"memory.limit_in_bytes", "memory.memsw.limit_in_bytes"});
  Limits limits = memory(64);
  limits.memorySwap = GetParam().sum;
  std::ignore = tree().create("c", limits);
  EXPECT_EQ(get("memory/img/c/memory.memsw.limit_in_bytes"), GetParam().v1);
}

INSTANTIATE_TEST_SUITE_P(Values, Swap,
                         testing::Values(SwapCase{"Unlimited", -1, "max", "-1"},
                                         SwapCase{"None", 64 << 20, "0", "67108864"},
                                         SwapCase{"Some", 96 << 20, "33554432", "100663296"}),
                         [](const auto& test) { return std::string{test.param.name}; });

TEST_F(MadeUpTree, HasNoLimitOnProcessesWhenUnlimitedWasAskedFor) {
  prepareV2();
  put("img/c/pids.max", "77");
  Limits limits = memory(64);
  limits.pids = -1;
  std::ignore = tree().create("c", limits);
  EXPECT_EQ(get("img/c/pids.max"), "77") << "nothing is written: a new group has none";
}

TEST_F(MadeUpTree, PassesControllersDownThroughAParentThatIsAskedFor) {
  prepareV2();
  for (const char* file : {"ci/cgroup.subtree_control", "ci/fast/cgroup.subtree_control",
                           "ci/fast/c/cgroup.procs", "ci/fast/c/memory.max"}) {
    put(file, "");
  }
  const auto group = tree().create("/ci/fast/c", memory(64));
  ASSERT_TRUE(group);
  EXPECT_EQ(get("ci/fast/c/memory.max"), "67108864");
  for (const char* above : {"", "ci/", "ci/fast/"}) {
    EXPECT_NE(get(std::string{above} + "cgroup.subtree_control"), "") << above;
  }
  EXPECT_EQ(tree().find("/ci/fast/c").folders.size(), 1U);
}

TEST_F(MadeUpTree, LeavesControllersAloneThatAreThereAlready) {
  prepareV2();
  put("cgroup.subtree_control", "memory pids\n");
  std::ignore = tree().create("c", memory(64));
  EXPECT_EQ(get("cgroup.subtree_control"), "memory pids\n");
}

TEST_F(MadeUpTree, RefusesALimitWithoutItsController) {
  put("cgroup.controllers", "cpu\n");
  put("img/c/cgroup.procs", "");
  const Error error = refusal(memory(64));
  EXPECT_EQ(error.code(), "cgroup");
  EXPECT_NE(error.why().find("memory"), std::string::npos) << error.why();
  EXPECT_FALSE(error.hints().empty());
}

TEST_F(MadeUpTree, RefusesALimitWhoseFileTheKernelDoesNotHave) {
  prepareV1("memory", {"memory.limit_in_bytes"});
  Limits limits = memory(64);
  limits.memorySwap = 64 << 20;
  const Error error = refusal(limits);
  EXPECT_NE(error.hints().front().find("swapaccount=1"), std::string::npos) << "it names the cure";

  prepareV1("blkio", {});
  Limits weight;
  weight.ioWeight = 100;
  EXPECT_NE(refusal(weight).why().find("blkio.weight"), std::string::npos);
}

TEST_F(MadeUpTree, UsesTheWeightOfTheSchedulerThatIsThere) {
  prepareV1("blkio", {"blkio.bfq.weight"});
  Limits limits;
  limits.ioWeight = 300;
  std::ignore = tree().create("c", limits);
  EXPECT_EQ(get("blkio/img/c/blkio.bfq.weight"), "300");
}

TEST_F(MadeUpTree, FillsAVersion1CpusetFromAbove) {
  prepareV1("cpuset", {"cpuset.cpus", "cpuset.mems"});
  put("cpuset/cpuset.cpus", "0-3\n");
  put("cpuset/cpuset.mems", "0\n");
  for (const char* file : {"cpuset/img/cpuset.cpus", "cpuset/img/cpuset.mems"}) put(file, "");
  Limits limits;
  limits.cpusetCpus = "1";
  std::ignore = tree().create("c", limits);
  EXPECT_EQ(get("cpuset/img/cpuset.cpus"), "0-3");
  EXPECT_EQ(get("cpuset/img/c/cpuset.mems"), "0");
  EXPECT_EQ(get("cpuset/img/c/cpuset.cpus"), "1-3") << "written over the four bytes 0-3";
}

TEST_F(MadeUpTree, RaisesTheSumFirstWhenAVersion1MemoryLimitGrows) {
  prepareV1("memory", {"memory.limit_in_bytes", "memory.memsw.limit_in_bytes"});
  put("memory/img/c/memory.memsw.limit_in_bytes", "33554432");
  ASSERT_EQ(::unlink((tree_.path() + "/memory/img/c/memory.limit_in_bytes").c_str()), 0);
  try {
    std::ignore = tree().update("c", memory(64));
    FAIL() << "the missing file went unnoticed";
  } catch (const Error&) {
  }
  EXPECT_EQ(get("memory/img/c/memory.memsw.limit_in_bytes"), "134217728");
}

TEST_F(MadeUpTree, SplitsAHybridSetupByController) {
  put("unified/cgroup.controllers", "pids\n");
  put("unified/cgroup.procs", "");
  put("unified/cgroup.subtree_control", "pids");
  put("unified/img/cgroup.subtree_control", "pids");
  put("unified/img/c/cgroup.procs", "");
  put("unified/img/c/pids.max", "");
  prepareV1("memory", {"memory.limit_in_bytes", "memory.memsw.limit_in_bytes"});
  Limits limits = memory(64);
  limits.pids = 50;
  const auto group = tree().create("c", limits);
  ASSERT_TRUE(group);
  EXPECT_FALSE(group->isUnified);
  EXPECT_EQ(group->entries.size(), 1U);
  EXPECT_TRUE(group->into);
  EXPECT_EQ(get("memory/img/c/memory.limit_in_bytes"), "67108864");
  EXPECT_EQ(get("memory/img/c/memory.memsw.limit_in_bytes"), "134217728");
  EXPECT_EQ(get("unified/img/c/pids.max"), "50");
}

TEST_F(MadeUpTree, UsesTheFreezerOfVersion1WithoutAnyVersion2) {
  prepareV1("freezer", {"freezer.state"});
  const auto group = tree().create("c", {});
  ASSERT_TRUE(group);
  ASSERT_EQ(group->folders.size(), 1U);
  put("freezer/img/c/freezer.state", "THAWED");
  EXPECT_FALSE(group->isFrozen());
  group->freeze();
  EXPECT_TRUE(group->isFrozen());
  EXPECT_EQ(get("freezer/img/c/freezer.state"), "FROZEN");
}

TEST_F(MadeUpTree, HasAGroupForDeviceRulesThatIsFoundAgain) {
  prepareV1("freezer", {});
  put("devices/cgroup.procs", "");
  put("devices/jobs/c/cgroup.procs", "");
  put("freezer/jobs/c/cgroup.procs", "");
  auto group = tree().create("jobs/c", {});
  ASSERT_TRUE(group);
  EXPECT_EQ(tree().enterDevices(*group), tree_.path() + "/devices/jobs/c");
  EXPECT_EQ(group->entries.size(), 2U) << "who joins enters both";
  EXPECT_EQ(tree().find("jobs/c").folders, group->folders) << "and what is left is found";
}

TEST_F(MadeUpTree, HasNoGroupForDeviceRulesWithoutTheirHierarchy) {
  prepareV1("freezer", {});
  auto group = tree().create("c", {});
  ASSERT_TRUE(group);
  EXPECT_EQ(tree().enterDevices(*group), "");
  EXPECT_EQ(group->folders.size(), 1U);
}

TEST_F(MadeUpTree, TellsTheOutOfMemoryKillerFromItsCounters) {
  prepareV2();
  const Cgroup group = tree().find("c");
  EXPECT_FALSE(group.outOfMemory());
  put("img/c/memory.events", "low 0\noom 3\noom_kill 1\n");
  EXPECT_TRUE(group.outOfMemory());
}

TEST_F(MadeUpTree, TellsItFromThoseOfVersion1Too) {
  prepareV1("memory", {});
  put("memory/img/c/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n");
  EXPECT_TRUE(tree().find("c").outOfMemory());
}

TEST_F(MadeUpTree, OffersNothingWhereNothingIsMounted) {
  EXPECT_FALSE(tree().create("c", {}));
  EXPECT_THROW(tree().find("c").freeze(), Error);
  EXPECT_TRUE(tree().names().empty());
}

// What `work` says as an ordinary user to whom the folder `owned` belongs.
class Delegated : public MadeUpTree {
 protected:
  static constexpr uid_t kUser = 12345;
  static constexpr const char* kSelf = "0::/user.slice/app.scope\n";
  static constexpr const char* kBase = "user.slice/";

  void SetUp() override {
    MadeUpTree::SetUp();
    if (::geteuid() != 0) GTEST_SKIP() << "becoming somebody else needs root";
    prepareV2(kBase);
    put("user.slice/cgroup.procs", "");
    put("user.slice/app.scope/cgroup.procs", "");
  }
  void give(const std::string& folder) const {
    for (const char* below :
         {"", "/cgroup.procs", "/cgroup.subtree_control", "/app.scope", "/app.scope/cgroup.procs",
          "/img", "/img/cgroup.subtree_control", "/img/c", "/img/c/memory.max", "/img/c/pids.max",
          "/img/c/memory.swap.max"}) {
      const std::string path = tree_.path() + "/" + folder + below;
      std::ignore = ::chown(path.c_str(), kUser, kUser);
    }
  }
  std::string asUser(const std::function<std::string()>& work) const {
    Pipe answer = Pipe::make();
    const pid_t pid = ::fork();
    if (pid == 0) {
      std::string text;
      if (::setresuid(kUser, kUser, kUser) != 0) ::_exit(1);
      try {
        text = work();
      } catch (const Error& error) {
        text = error.code() + "|" + error.why() + "|" +
               (error.hints().empty() ? "" : error.hints().front());
      }
      writeAll(answer.write.get(), text, "answer");
      ::_exit(0);
    }
    answer.write.reset();
    std::string text = readAll(answer.read.get(), "answer");
    ::waitpid(pid, nullptr, 0);
    return text;
  }
  std::string create(const Limits& limits) const {
    return asUser([&] {
      const auto group = tree(kSelf).create("c", limits);
      return group ? group->folders.front() : "nothing";
    });
  }
};

TEST_F(Delegated, FoldersAreWhereTheGroupsOfAUserGo) {
  give("user.slice");
  EXPECT_EQ(create(memory(64)), tree_.path() + "/user.slice/img/c");
  EXPECT_EQ(get("user.slice/img/c/memory.max"), "67108864");
  EXPECT_EQ(get("cgroup.subtree_control"), "(missing)") << "nothing above it is touched";
}

TEST_F(Delegated, NothingMeansNoGroupAndAClearErrorForALimit) {
  EXPECT_EQ(create({}), "nothing");
  const std::string error = create(memory(64));
  EXPECT_TRUE(error.starts_with("cgroup|")) << error;
  EXPECT_NE(error.find("Delegate=yes"), std::string::npos) << "the cure: " << error;
}

TEST_F(Delegated, ControllersThatDoNotComeDownAreNamed) {
  give("user.slice");
  put("user.slice/cgroup.controllers", "pids\n");
  const std::string error = create(memory(64));
  EXPECT_NE(error.find("does not have the memory controller"), std::string::npos) << error;
  EXPECT_NE(error.find("systemctl edit user@.service"), std::string::npos) << error;
  EXPECT_EQ(create({}), tree_.path() + "/user.slice/img/c") << "without a limit it does no harm";
}

TEST_F(Delegated, FilesKeepTheirModesAndOwners) {
  give("user.slice");
  const struct stat before = sys::fstatat(tree_.fd(), "user.slice");
  const struct stat above = sys::fstatat(tree_.fd(), "cgroup.procs");
  create(memory(64));
  const struct stat after = sys::fstatat(tree_.fd(), "user.slice");
  const struct stat still = sys::fstatat(tree_.fd(), "cgroup.procs");
  EXPECT_EQ(after.st_mode, before.st_mode);
  EXPECT_EQ(after.st_uid, before.st_uid);
  EXPECT_EQ(still.st_uid, above.st_uid);
  EXPECT_EQ(still.st_mode, above.st_mode);
}

struct ParentCase {
  const char* path;
  bool isGood;
};
void PrintTo(const ParentCase& one, std::ostream* out) {
  *out << one.path;
}
class CgroupParent : public testing::TestWithParam<ParentCase> {};

TEST_P(CgroupParent, IsAPathWithoutTricks) {
  const auto check = [] { checkCgroupParent(GetParam().path); };
  if (GetParam().isGood) {
    EXPECT_NO_THROW(check());
  } else {
    EXPECT_THROW(check(), Error);
  }
}

INSTANTIATE_TEST_SUITE_P(Paths, CgroupParent,
                         testing::Values(ParentCase{"/ci", true}, ParentCase{"ci/fast", true},
                                         ParentCase{"/a.slice/b", true}, ParentCase{"", false},
                                         ParentCase{"/", false}, ParentCase{"../x", false},
                                         ParentCase{"/a/../b", false}, ParentCase{"a//b", false},
                                         ParentCase{"a/", false}));

}  // namespace
}  // namespace img::runtime::test
