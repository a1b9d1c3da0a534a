#include "runtime/borrowed_clone.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <malloc.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstring>
#include <exception>
#include <string>
#include <tuple>

#include "base/fs.h"
#include "base/sys.h"
#include "runtime/early_network.h"
#include "tests/runtime/sandbox.h"

namespace img::runtime::test {
namespace {

int statusOf(const Launched& launched) {
  int status = -1;
  ::waitpid(launched.pid, &status, 0);
  return status;
}

TEST(BorrowedClone, WaitsUntilTheChildEndsAndSeesWhatItWrote) {
  std::string text = "before";
  const Launched child = cloneBorrowing({}, [&] {
    text += ", and what the child added on the heap of its parent";
    ::_exit(7);
  });
  EXPECT_EQ(text, "before, and what the child added on the heap of its parent");
  EXPECT_EQ(WEXITSTATUS(statusOf(child)), 7);
  EXPECT_TRUE(child.pidfd);
}

TEST(BorrowedClone, WaitsUntilTheChildExecutesAProgram) {
  bool hasRun = false;
  const Launched child = cloneBorrowing({}, [&] {
    hasRun = true;
    ::execl("/bin/sh", "sh", "-c", "exit 3", nullptr);
    ::_exit(1);
  });
  EXPECT_TRUE(hasRun);
  EXPECT_EQ(WEXITSTATUS(statusOf(child)), 3);
}

TEST(BorrowedClone, GivesTheChildAStackBelowTheFramesOfItsParent) {
  volatile unsigned char mine[16384];
  std::memset(const_cast<unsigned char*>(mine), 0x5a, sizeof mine);
  const Launched child = cloneBorrowing({}, [] {
    volatile unsigned char deep[200000];
    for (volatile unsigned char& byte : deep) byte = 0xff;
    ::_exit(0);
  });
  EXPECT_EQ(statusOf(child), 0);
  for (size_t i = 0; i < sizeof mine; ++i) ASSERT_EQ(mine[i], 0x5a) << i;
}

TEST(BorrowedClone, KeepsExceptionsOfTheChildInIt) {
  const Launched child = cloneBorrowing({}, [] {
    try {
      throw Error{Kind::failed, "in the child"};
    } catch (const Error& error) {
      ::_exit(std::string{"in the child"} == error.cause() ? 5 : 1);
    }
  });
  EXPECT_EQ(WEXITSTATUS(statusOf(child)), 5);
  EXPECT_THROW(sys::openat(AT_FDCWD, "/not/there", O_RDONLY), Error) << "and still works here";
}

TEST(BorrowedClone, ReturnsFromAChildThatWasKilled) {
  const Launched child = cloneBorrowing({}, [] { ::kill(::getpid(), SIGKILL); });
  EXPECT_EQ(WTERMSIG(statusOf(child)), SIGKILL);
}

TEST(BorrowedClone, LeavesDescriptorsFoldersSignalsAndDumpabilityOfTheParent) {
  const Fd open = sys::openat(AT_FDCWD, "/", O_RDONLY | O_DIRECTORY);
  char before[4096], after[4096];
  ASSERT_NE(::getcwd(before, sizeof before), nullptr);
  ASSERT_EQ(::prctl(PR_GET_DUMPABLE), 1);
  const Launched child = cloneBorrowing({}, [&] {
    ::close(open.get());
    ::umask(0);
    ::prctl(PR_SET_DUMPABLE, 0);
    ::signal(SIGUSR2, SIG_IGN);
    ::_exit(::chdir("/"));
  });
  EXPECT_EQ(statusOf(child), 0);
  EXPECT_TRUE(S_ISDIR(sys::fstat(open.get()).st_mode));
  ASSERT_NE(::getcwd(after, sizeof after), nullptr);
  EXPECT_STREQ(after, before);
  EXPECT_EQ(::prctl(PR_GET_DUMPABLE), 1);
  EXPECT_EQ(::signal(SIGUSR2, SIG_DFL), SIG_DFL);
}

// Whole containers whose caller is brief.
class Brief : public Sandbox {
 protected:
  Spec brief(std::vector<std::string> argv) const {
    Spec one = spec(std::move(argv));
    one.isCallerBrief = true;
    return one;
  }
};

std::string ownState() {
  std::string state;
  for (const char* name : {"ns/mnt", "ns/net", "ns/uts", "ns/ipc", "ns/cgroup", "cwd", "root"}) {
    state += sys::readlinkat(AT_FDCWD, std::string{"/proc/self/"} + name) + " ";
  }
  const std::string status = fs::readFile(AT_FDCWD, "/proc/self/status");
  for (const char* key : {"Uid:", "Gid:", "Groups:", "CapEff:", "CapBnd:", "CapAmb:", "NoNewPrivs:",
                          "Seccomp:", "SigBlk:", "SigIgn:", "Umask:"}) {
    state += key + field(status, key) + " ";
  }
  state += std::to_string(fs::list(sys::openDirectory(AT_FDCWD, "/proc/self/fd").get()).size());
  return state;
}

TEST_F(Brief, LeavesTheCallerAsItWas) {
  const std::string before = ownState();
  Spec one = brief({"/bin/id"});
  one.user = "app";
  one.noNewPrivs = true;
  EXPECT_EQ(run(one).out.substr(0, 8), "uid=1000");
  EXPECT_EQ(ownState(), before);
  EXPECT_EQ(::prctl(PR_GET_DUMPABLE), 1);
}

TEST_F(Brief, ConfinesAsEver) {
  for (const bool isBrief : {true, false}) {
    Spec one = shell(
        "grep -E '^(Cap|Seccomp:|NoNewPrivs|Uid)' /proc/self/status; ls /proc/self/fd; "
        "hostname; cat /proc/1/comm; echo $$");
    one.isCallerBrief = isBrief;
    static std::string first;
    const Result result = run(one);
    EXPECT_EQ(result.code, 0);
    if (isBrief) first = result.out;
    EXPECT_EQ(result.out, first);
  }
}

TEST_F(Brief, ReportsFailuresAndStartsAgain) {
  Spec missing = brief({"nowhere"});
  EXPECT_EQ(failure(missing).exitCode(), 127);
  Spec folder = brief({"/bin/true"});
  folder.cwd = "/etc/passwd/below";
  EXPECT_EQ(failure(folder).exitCode(), 125);
  Spec works = brief({"/bin/echo", "again"});
  EXPECT_EQ(run(works).out, "again\n");
}

// The builder is no brief caller, but starts few containers this way for it.
TEST_F(Brief, LosesLittleOfTheHeapOfItsCaller) {
  constexpr size_t kStarts = 20, kMost = size_t{64} << 10;
  Spec works = brief({"/bin/true"});
  Spec fails = brief({"nowhere"});
  for (Spec* one : {&works, &fails}) {
    one->env.push_back("LONG=" + std::string(1000, 'x'));
    const auto start = [&] { one == &works ? void(run(*one)) : void(failure(*one)); };
    start();  // what is made once
    const size_t before = ::mallinfo2().uordblks;
    for (size_t i = 0; i < kStarts; ++i) start();
    const size_t after = ::mallinfo2().uordblks;
    EXPECT_LT(after, before + kStarts * kMost);
  }
}

// What the child threw is nothing that the caller is handling.
TEST_F(Brief, LeavesNoExceptionOfTheChildToTheCaller) {
  Spec missing = brief({"nowhere"});
  EXPECT_EQ(failure(missing).exitCode(), 127);
  Spec folder = brief({"/bin/true"});
  folder.cwd = "/etc/passwd/below";
  EXPECT_EQ(failure(folder).exitCode(), 125);
  EXPECT_FALSE(std::current_exception());
  EXPECT_EQ(std::uncaught_exceptions(), 0);
}

TEST_F(Brief, IsNoReasonToBorrowWhereTheCallerHasWorkToDo) {
  Spec one = brief({"/bin/true"});
  bool isCalled = false;
  one.onCreated = [&](pid_t, int) { isCalled = true; };
  EXPECT_EQ(run(one).code, 0);
  EXPECT_TRUE(isCalled);
}

TEST_F(Brief, UsesANetworkNamespaceThatTheCallerHasBegun) {
  EarlyNetwork network{true};
  Spec one = brief({"/bin/ip", "link", "show", "lo"});
  one.earlyNetwork = &network;
  EXPECT_NE(run(one).out.find("LOOPBACK,UP"), std::string::npos);
  EXPECT_FALSE(network.take()) << "it was given to the container";
  EXPECT_NE(run(one).out.find("LOOPBACK,UP"), std::string::npos) << "made by the clone";
}

cpu_set_t ownCpus() {
  cpu_set_t cpus;
  EXPECT_EQ(::sched_getaffinity(0, sizeof cpus, &cpus), 0);
  return cpus;
}

TEST(EarlyNetwork, LeavesTheCpusOfTheCallerAsTheyAre) {
  const cpu_set_t before = ownCpus();
  EarlyNetwork network{true};
  std::ignore = network.take();
  const cpu_set_t after = ownCpus();
  EXPECT_TRUE(CPU_EQUAL(&before, &after));
}

// Beside it nothing could be made: the clone is as fast.
TEST(EarlyNetwork, IsLeftToTheCloneWithOneCpu) {
  const cpu_set_t before = ownCpus();
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET(static_cast<unsigned>(::sched_getcpu()), &one);
  ASSERT_EQ(::sched_setaffinity(0, sizeof one, &one), 0);
  EXPECT_FALSE(EarlyNetwork{true}.take());
  ASSERT_EQ(::sched_setaffinity(0, sizeof before, &before), 0);
}

volatile std::sig_atomic_t signalsTaken = 0;

TEST(EarlyNetwork, LeavesSignalsToTheCaller) {
  ::signal(SIGUSR1, [](int) { signalsTaken = 1; });
  sigset_t usr1, old, pending;
  ::sigemptyset(&usr1);
  ::sigaddset(&usr1, SIGUSR1);
  EarlyNetwork network{true};
  ::pthread_sigmask(SIG_BLOCK, &usr1, &old);
  ::kill(::getpid(), SIGUSR1);
  std::ignore = network.take();
  ::sigpending(&pending);
  EXPECT_EQ(::sigismember(&pending, SIGUSR1), 1);
  EXPECT_EQ(signalsTaken, 0);
  ::signal(SIGUSR1, SIG_IGN);  // and forgets it
  ::pthread_sigmask(SIG_SETMASK, &old, nullptr);
  ::signal(SIGUSR1, SIG_DFL);
}

}  // namespace
}  // namespace img::runtime::test
