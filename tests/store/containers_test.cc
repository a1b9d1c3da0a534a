#include "store/containers.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <set>

#include "base/error.h"
#include "base/fs.h"
#include "base/sys.h"
#include "store/container_json.h"
#include "store/container_names.h"

namespace img::store {
namespace {

using Status = ContainerState::Status;

class ContainersTest : public testing::Test {
 protected:
  fs::TempDir dir_;
  Layout layout_ = Layout::open(dir_.path() + "/store");
  Containers containers_{layout_};

  ContainerConfig make(const std::string& name, bool autoRemove = false) {
    ContainerConfig config;
    config.name = name;
    config.autoRemove = autoRemove;
    config.argv = {"true"};
    return containers_.create(config);
  }

  // A state as a keeper writes it for process `pid`.
  static ContainerState runningAs(pid_t pid) {
    ContainerState state;
    state.status = Status::running;
    state.pid = pid;
    state.startTicks = processStartTicks(pid).value_or(0);
    state.bootId = bootId();
    state.startedAt = timestampNow();
    return state;
  }

  bool exists(const std::string& path) { return sys::tryFstatat(layout_.fd(), path).has_value(); }
};

Kind kindOf(const std::function<void()>& call) {
  try {
    call();
  } catch (const Error& error) {
    return error.kind();
  }
  return Kind::internal;
}

TEST_F(ContainersTest, ARecordHasAnIdANameFoldersAndATime) {
  const ContainerConfig config = make("");
  EXPECT_TRUE(isContainerId(config.id));
  EXPECT_TRUE(isValidContainerName(config.name));
  EXPECT_NE(config.name.find('_'), std::string::npos);
  EXPECT_EQ(config.createdAt.substr(0, 2), "20");
  for (const char* folder : {"upper", "work"}) {
    const struct stat st = sys::fstatat(containers_.folder(config.id).get(), folder);
    EXPECT_TRUE(S_ISDIR(st.st_mode)) << folder;
  }
}

TEST_F(ContainersTest, TheUmaskDoesNotReachTheContainersRoot) {
  const mode_t old = ::umask(077);
  const ContainerConfig config = make("a");
  ::umask(old);
  EXPECT_EQ(sys::fstatat(containers_.folder(config.id).get(), "upper").st_mode & 07777, 0755u);
}

TEST_F(ContainersTest, ATakenNameIsRefusedWithItsHoldersId) {
  const ContainerConfig first = make("web");
  try {
    make("web");
    FAIL() << "a second container got the name";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), Kind::exists);
    EXPECT_EQ(error.code(), "name-in-use");
    EXPECT_NE(error.hints().at(0).find(first.id.substr(0, 12)), std::string::npos);
  }
  EXPECT_EQ(containers_.list().size(), 1u);
  EXPECT_TRUE(fs::list(sys::openDirectory(layout_.fd(), "containers/.part").get()).empty());
}

TEST_F(ContainersTest, ANameIsFreeAgainAfterRemoval) {
  containers_.remove(make("web").id);
  EXPECT_EQ(make("web").name, "web");
}

TEST_F(ContainersTest, ANameWhoseRecordVanishedIsFree) {
  const ContainerConfig first = make("web");
  fs::removeTree(layout_.fd(), "containers/" + first.id);
  EXPECT_EQ(make("web").name, "web");
}

TEST_F(ContainersTest, ABadNameIsAUsageError) {
  for (const char* name : {"-web", "we b", "a/b", "_x", "é"}) {
    EXPECT_EQ(kindOf([&] { make(name); }), Kind::usage) << name;
  }
}

TEST_F(ContainersTest, ContainersAreFoundByIdNameAndPrefix) {
  const ContainerConfig config = make("web");
  for (const std::string& word : {config.id, config.id.substr(0, 12), config.id.substr(0, 3),
                                  std::string{"web"}, std::string{"/web"}}) {
    const auto found = containers_.find(word);
    ASSERT_TRUE(found) << word;
    EXPECT_EQ(found->config.id, config.id);
  }
  EXPECT_FALSE(containers_.find("we"));
  EXPECT_FALSE(containers_.find("../store"));
  EXPECT_EQ(kindOf([&] { containers_.get("nobody"); }), Kind::notFound);
}

TEST_F(ContainersTest, AnAmbiguousPrefixNamesTheCandidates) {
  ContainerConfig config;
  config.id = "ab" + std::string(62, '0');
  containers_.create(config);
  config.id = "ab" + std::string(62, '1');
  containers_.create(config);
  try {
    containers_.find("ab");
    FAIL();
  } catch (const Error& error) {
    EXPECT_NE(error.cause().find("ab0000000000, ab1111111111"), std::string::npos) << error.cause();
  }
}

TEST_F(ContainersTest, ANameWinsOverAnIdPrefix) {
  ContainerConfig config;
  config.id = "abc" + std::string(61, '0');
  containers_.create(config);
  const ContainerConfig named = make("abc");
  EXPECT_EQ(containers_.get("abc").config.id, named.id);
}

TEST_F(ContainersTest, TheListIsNewestFirst) {
  for (const char* time : {"2026-01-02T00:00:00.5Z", "2026-01-02T00:00:00.123Z",
                           "2026-01-02T00:00:01Z", "2026-01-02T00:00:00Z"}) {
    ContainerConfig config;
    config.createdAt = time;
    containers_.create(config);
  }
  std::vector<std::string> times;
  for (const ContainerRecord& record : containers_.list()) times.push_back(record.config.createdAt);
  EXPECT_EQ(times, (std::vector<std::string>{"2026-01-02T00:00:01Z", "2026-01-02T00:00:00.5Z",
                                             "2026-01-02T00:00:00.123Z", "2026-01-02T00:00:00Z"}));
}

TEST_F(ContainersTest, AHeldLiveProcessIsRunning) {
  const ContainerConfig config = make("web");
  const FileLock lock = containers_.hold(config.id);
  containers_.setState(config.id, runningAs(::getpid()));
  EXPECT_EQ(containers_.get("web").state.status, Status::running);
  EXPECT_EQ(containers_.get("web").state.pid, ::getpid());
}

TEST_F(ContainersTest, WithoutItsKeeperARunningContainerIsExited) {
  const ContainerConfig config = make("web");
  containers_.setState(config.id, runningAs(::getpid()));
  const ContainerState state = containers_.get("web").state;
  EXPECT_EQ(state.status, Status::exited);
  EXPECT_EQ(state.error, "monitor lost");
  EXPECT_EQ(state.exitCode, 137);
  EXPECT_EQ(state.pid, 0);
}

TEST_F(ContainersTest, AReusedPidIsNotTheContainer) {
  const ContainerConfig config = make("web");
  const FileLock lock = containers_.hold(config.id);
  ContainerState state = runningAs(::getpid());
  state.startTicks += 1;
  containers_.setState(config.id, state);
  EXPECT_EQ(containers_.get("web").state.status, Status::exited);
}

TEST_F(ContainersTest, AnotherBootMeansExitedWithCode255) {
  const ContainerConfig config = make("web");
  ContainerState state = runningAs(::getpid());
  state.bootId = "another";
  containers_.setState(config.id, state);
  const ContainerState seen = containers_.get("web").state;
  EXPECT_EQ(seen.status, Status::exited);
  EXPECT_EQ(seen.exitCode, 255);
  EXPECT_EQ(seen.error, "host restarted");
}

TEST_F(ContainersTest, OneThatWaitsForItsRestartIsAliveAsLongAsItsKeeper) {
  const ContainerConfig config = make("web");
  ContainerState state = runningAs(::getpid());
  state.status = Status::restarting;
  state.pid = 0;
  state.restartCount = 3;
  containers_.setState(config.id, state);
  {
    const FileLock keeper = containers_.hold(config.id);
    const ContainerState seen = containers_.get("web").state;
    EXPECT_EQ(seen.status, Status::restarting);
    EXPECT_EQ(seen.restartCount, 3);
  }
  EXPECT_EQ(containers_.get("web").state.error, "monitor lost");
}

TEST_F(ContainersTest, ChangesOfTheStateByManyAtOnceAreAllKept) {
  const std::string id = make("web").id;
  constexpr int kProcesses = 4;
  constexpr int kChanges = 25;
  for (int i = 0; i < kProcesses; ++i) {
    if (::fork() != 0) continue;
    for (int change = 0; change < kChanges; ++change) {
      containers_.changeState(id, [](ContainerState& state) { return ++state.failingStreak > 0; });
    }
    ::_exit(0);
  }
  for (int i = 0; i < kProcesses; ++i) ::wait(nullptr);
  EXPECT_EQ(containers_.get("web").state.failingStreak, kProcesses * kChanges);
}

TEST_F(ContainersTest, AChangeThatIsDeclinedWritesNothing) {
  const std::string id = make("web").id;
  containers_.changeState(id, [](ContainerState& state) {
    state.exitCode = 5;
    return false;
  });
  EXPECT_EQ(containers_.get("web").state.exitCode, 0);
}

TEST_F(ContainersTest, ARequestToStopStaysUntilTheNextStart) {
  const std::string id = make("web").id;
  EXPECT_FALSE(containers_.isStopRequested(id));
  containers_.requestStop(id);
  EXPECT_TRUE(containers_.isStopRequested(id));
  containers_.forgetStop(id);
  EXPECT_FALSE(containers_.isStopRequested(id));
  containers_.remove(id);
  EXPECT_TRUE(containers_.isStopRequested(id)) << "a container that is gone is not to be started";
}

TEST_F(ContainersTest, GroupsAreLookedForOnceSomebodyHasAnnouncedThemWhateverTheStateIs) {
  const std::string id = make("web").id;
  EXPECT_FALSE(containers_.mayHaveLateGroups(id));
  containers_.announceLateGroups(id);
  containers_.setState(id, runningAs(::getpid()));
  EXPECT_TRUE(containers_.mayHaveLateGroups(id));
  containers_.remove(id);
  EXPECT_TRUE(containers_.mayHaveLateGroups(id)) << "whoever has removed it does not know of them";
}

TEST_F(ContainersTest, AConfigurationCanBeWrittenAgain) {
  ContainerConfig config = make("web");
  config.limits.memory = 64 << 20;
  config.restart = {"on-failure", 5};
  containers_.setConfig(config);
  const ContainerConfig now = containers_.get("web").config;
  EXPECT_EQ(now.limits.memory, 64 << 20);
  EXPECT_EQ(now.restart.policy, "on-failure");
  EXPECT_EQ(now.restart.maximum, 5);
}

TEST_F(ContainersTest, WhoComesLaterRenamesWhatItIsCalledByNow) {
  ContainerConfig config;
  config.name = "old";
  containers_.create(config);
  const ContainerRecord seen = containers_.get("old");
  containers_.rename(seen, "first");
  containers_.rename(seen, "second");
  EXPECT_FALSE(containers_.find("old"));
  EXPECT_FALSE(containers_.find("first"));
  EXPECT_EQ(containers_.get("second").config.id, seen.config.id);
  // A change of something else, by one who saw the old name.
  ContainerConfig changed = seen.config;
  changed.stopTimeout = 77;
  containers_.setConfig(changed);
  EXPECT_EQ(containers_.get("second").config.stopTimeout, 77);
  EXPECT_EQ(containers_.get("second").config.name, "second");
}

TEST_F(ContainersTest, RenameMovesTheName) {
  make("old");
  containers_.rename(containers_.get("old"), "new");
  EXPECT_EQ(containers_.get("new").config.name, "new");
  EXPECT_FALSE(containers_.find("old"));
  make("old");
  EXPECT_EQ(kindOf([&] { containers_.rename(containers_.get("new"), "old"); }), Kind::exists);
}

TEST_F(ContainersTest, RecoveryRemovesAnAutoRemoveContainerWithoutKeeper) {
  const ContainerConfig config = make("gone", true);
  containers_.markAutoRemove(config.id);
  make("kept", true);  // made with --rm, not started yet
  bool wasThere = false;
  const auto removed = containers_.recover(
      [&](const ContainerConfig& dead) { wasThere = containers_.find(dead.id).has_value(); });
  EXPECT_TRUE(wasThere) << "what lies elsewhere goes first";
  ASSERT_EQ(removed.size(), 1u);
  EXPECT_EQ(removed[0].name, "gone");
  EXPECT_FALSE(containers_.find("gone"));
  EXPECT_TRUE(containers_.find("kept"));
  EXPECT_FALSE(exists("containers/.auto/" + config.id));
}

TEST_F(ContainersTest, RecoveryLeavesAHeldContainerAlone) {
  const ContainerConfig config = make("alive", true);
  containers_.markAutoRemove(config.id);
  const FileLock lock = containers_.hold(config.id);
  EXPECT_TRUE(containers_.recover().empty());
  EXPECT_TRUE(containers_.find("alive"));
}

TEST_F(ContainersTest, RecoveryRemovesHalfMadeRecords) {
  make("a");
  sys::mkdirat(layout_.fd(), "containers/.part/dead", 0700);
  writeAll(sys::openat(layout_.fd(), "containers/.part/dead/lock", O_WRONLY | O_CREAT, 0600).get(),
           "dead", "lock");
  sys::tryMkdirat(layout_.fd(), "containers/.names", 0700);
  sys::linkat(layout_.fd(), "containers/.part/dead/lock", layout_.fd(),
              "containers/.names/unfinished", 0);
  sys::mkdirat(layout_.fd(), "containers/.part/live", 0700);
  const FileLock lock =
      FileLock::acquire(layout_.fd(), "containers/.part/live/lock", FileLock::Mode::exclusive);
  containers_.recover();
  EXPECT_FALSE(exists("containers/.part/dead"));
  EXPECT_FALSE(exists("containers/.names/unfinished"));
  EXPECT_TRUE(exists("containers/.part/live"));
}

TEST_F(ContainersTest, AHalfRemovedContainerIsFinishedByRecovery) {
  const ContainerConfig config = make("web", true);
  containers_.markAutoRemove(config.id);
  sys::renameat(layout_.fd(), "containers/" + config.id, layout_.fd(),
                "containers/.part/" + config.id);
  containers_.recover();
  EXPECT_FALSE(exists("containers/.part/" + config.id));
  EXPECT_FALSE(exists("containers/.auto/" + config.id));
  EXPECT_EQ(make("web").name, "web");
}

TEST_F(ContainersTest, ProcessesThatMakeAndRecoverAtOnceDoNotDisturbEachOther) {
  std::vector<pid_t> children;
  for (int i = 0; i < 4; ++i) {
    const pid_t child = ::fork();
    if (child == 0) {
      int failures = 0;
      for (int round = 0; round < 20; ++round) {
        try {
          containers_.recover();
          ContainerConfig config;
          config.autoRemove = true;
          const auto held = containers_.createHeld(config);
          containers_.markAutoRemove(held.config.id);
          containers_.list();
          if (!containers_.find(held.config.name)) ++failures;
          containers_.remove(held.config.id);
        } catch (const std::exception& error) {
          std::fprintf(stderr, "%s\n", error.what());
          ++failures;
        }
      }
      ::_exit(failures == 0 ? 0 : 1);
    }
    children.push_back(child);
  }
  for (const pid_t child : children) {
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0);
  }
  EXPECT_TRUE(containers_.list().empty());
  for (const char* folder : {"containers/.names", "containers/.auto", "containers/.part"}) {
    EXPECT_TRUE(fs::list(sys::openDirectory(layout_.fd(), folder).get()).empty()) << folder;
  }
}

TEST(ContainerJson, AConfigSurvivesTheRoundTrip) {
  ContainerConfig config;
  config.id = std::string(64, 'a');
  config.name = "web";
  config.imageId = Digest::of("config");
  config.diffIds = {Digest::of("1"), Digest::of("2")};
  config.argv = {"sh", "-c", "echo \"hi\"\n"};
  config.env = {"A=1"};
  config.mounts.emplace_back();
  config.mounts[0].type = "volume";
  config.mounts[0].destination = "/data";
  config.mounts[0].readOnly = config.mounts[0].noSuid = true;
  config.extraHosts = {{"db", "10.0.0.1"}};
  config.limits.memory = 1 << 20;
  config.limits.cpusetCpus = "0-1";
  config.ulimits = {{"nofile", 10, -1}};
  config.labels = {{"k", "v"}};
  config.stopTimeout = 3;
  config.privileged = true;
  config.volumesFrom = {"other:ro"};
  config.logOptions = {{"max-size", "1m"}};
  config.umask = 077;
  const std::string text = toJson(config);
  const ContainerConfig back = parseContainerConfig(text, "test", false);
  EXPECT_EQ(toJson(back), text);
  EXPECT_EQ(back.mounts.at(0).destination, "/data");
  EXPECT_EQ(back.limits.memory, 1 << 20);
  EXPECT_EQ(back.ulimits.at(0).hard, -1);
  EXPECT_EQ(back.volumesFrom, config.volumesFrom);
  EXPECT_EQ(back.logOptions, config.logOptions);
  EXPECT_EQ(back.umask, 077);
}

TEST(ContainerJson, WrongTypesAreCorruption) {
  EXPECT_EQ(kindOf([] { parseContainerState(R"({"pid":"x"})", "state.json"); }), Kind::corrupt);
  EXPECT_EQ(kindOf([] { parseContainerState("[1", "state.json"); }), Kind::corrupt);
  EXPECT_EQ(kindOf([] { parseContainerConfig(R"({"env":7})", "config.json", false); }),
            Kind::corrupt);
}

TEST(ContainerNames, ManyNumbersGiveManyValidNames) {
  std::set<std::string> names;
  for (std::uint64_t i = 0; i < 2000; ++i) {
    const std::string name = containerNameFor(i * 7919, 0);
    EXPECT_TRUE(isValidContainerName(name)) << name;
    names.insert(name);
  }
  EXPECT_GT(names.size(), 1500u);
  EXPECT_NE(containerNameFor(5, 3), containerNameFor(5, 0));
}

TEST(ProcessIdentity, AProcessHasOneAndADeadOneHasNone) {
  EXPECT_TRUE(processStartTicks(::getpid()));
  const pid_t child = ::fork();
  if (child == 0) ::_exit(0);
  siginfo_t info{};
  ::waitid(P_PID, static_cast<id_t>(child), &info, WEXITED | WNOWAIT);
  EXPECT_FALSE(processStartTicks(child)) << "a zombie runs no more";
  ::waitpid(child, nullptr, 0);
  EXPECT_FALSE(processStartTicks(child));
}

}  // namespace
}  // namespace img::store
