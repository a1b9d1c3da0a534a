#include "runtime/user_namespace.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sched.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <ostream>

#include "base/fs.h"
#include "base/process.h"
#include "base/sys.h"

namespace img::runtime::test {
namespace {

// A process in a user namespace of its own that is registered and waits for its end.
Child registered(const std::string& folder) {
  Pipe ready = Pipe::make();
  Child child = Child::fork([&] {
    makeUserNamespace(planIds(false));
    const Registration registration{folder};
    writeAll(ready.write.get(), "r", "a pipe");
    for (;;) ::pause();
    return std::string{};
  });
  ready.write.reset();
  // Should it ever hang, what it is doing is told.
  constexpr int kPatienceMs = 60'000;
  pollfd entry{ready.read.get(), POLLIN, 0};
  if (::poll(&entry, 1, kPatienceMs) == 0) {
    for (const char* file : {"status", "wchan", "stack", "syscall"}) {
      const auto text = fs::tryReadFile(AT_FDCWD, fmt::format("/proc/{}/{}", child.pid(), file));
      ADD_FAILURE() << file << ": " << text.value_or("");
    }
    child.kill(SIGKILL);
  }
  std::byte answer{};
  EXPECT_EQ(readFull(ready.read.get(), {&answer, 1}, "a pipe"), 1U);
  return child;
}

std::string spaceOf(int fd) {
  return std::to_string(sys::fstat(fd).st_ino);
}
std::string spaceOfProcess(pid_t pid) {
  const Fd fd = sys::openat(AT_FDCWD, fmt::format("/proc/{}/ns/user", pid), O_RDONLY);
  return spaceOf(fd.get());
}

class Registry : public testing::Test {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "needs root";
    registry_.emplace(folder());
  }
  std::string folder() const { return dir_.path() + "/userns"; }
  std::vector<std::string> entries() const {
    std::vector<std::string> names;
    const Fd dir = sys::openDirectory(AT_FDCWD, folder());
    for (const fs::Entry& entry : fs::listSorted(dir.get())) names.push_back(entry.name);
    return names;
  }
  void put(const std::string& name) const {
    std::ignore = sys::openat(AT_FDCWD, folder() + "/" + name, O_WRONLY | O_CREAT, 0600);
  }

  fs::TempDir dir_;
  std::optional<NamespaceRegistry> registry_;
};

TEST_F(Registry, FindsTheNamespaceOfALiveProcess) {
  const Child child = registered(folder());
  const auto found = registry_->findLive(::geteuid());
  ASSERT_TRUE(found);
  EXPECT_EQ(spaceOf(found->get()), spaceOfProcess(child.pid()));
}

TEST_F(Registry, ForgetsTheDead) {
  {
    const Child child = registered(folder());
    EXPECT_EQ(entries().size(), 1U);
  }
  EXPECT_EQ(entries().size(), 1U);  // killed: nobody took it away
  EXPECT_FALSE(registry_->findLive(::geteuid()));
  EXPECT_TRUE(entries().empty());
}

TEST_F(Registry, IsNotTakenInByAPidThatWasGivenAway) {
  const Child child = registered(dir_.path());  // another folder: it has no entry here
  put(fmt::format("{}.1", child.pid()));
  EXPECT_FALSE(registry_->findLive(::geteuid()));
  EXPECT_TRUE(entries().empty());
}

TEST_F(Registry, LeavesWhatIsNoEntry) {
  put("lock");
  put("told");
  put("x.y");
  EXPECT_FALSE(registry_->findLive(::geteuid()));
  EXPECT_EQ(entries(), (std::vector<std::string>{"lock", "told", "x.y"}));
}

TEST_F(Registry, PassesOverNamespacesOfOthers) {
  const Child child = registered(folder());
  EXPECT_FALSE(registry_->findLive(::geteuid() + 1));
}

TEST_F(Registry, EndsAnEntryWithItsObjectAndInItsProcessOnly) {
  {
    Registration registration{folder()};
    EXPECT_EQ(entries().size(), 1U);
    Child::fork([&] {
      const Registration copy{std::move(registration)};
      return std::string{};
    }).finish();
    EXPECT_EQ(entries().size(), 1U);
  }
  EXPECT_TRUE(entries().empty());
}

TEST_F(Registry, RefusesAFolderThatOthersCanWriteTo) {
  ASSERT_EQ(::chmod(folder().c_str(), 0777), 0);
  EXPECT_THROW(NamespaceRegistry{folder()}, Error);
  ASSERT_EQ(::chmod(folder().c_str(), 0700), 0);
  ASSERT_EQ(::chown(folder().c_str(), 12345, 0), 0);
  EXPECT_THROW(NamespaceRegistry{folder()}, Error);
}

TEST_F(Registry, LetsAnotherProcessJoin) {
  const Child child = registered(folder());
  const std::string joined = Child::fork([&] {
                               joinUserNamespace(registry_->findLive(::geteuid())->get());
                               EXPECT_FALSE(isInitialUserNamespace());
                               EXPECT_TRUE(canAdminister());
                               return spaceOfProcess(::getpid());
                             }).finish();
  EXPECT_EQ(joined, spaceOfProcess(child.pid()));
}

TEST_F(Registry, GivesAllIdsToARootThatMayMapThem) {
  const std::string count = Child::fork([] {
                              EXPECT_EQ(makeUserNamespace(planIds(true)), "");
                              return std::to_string(contiguousIds(currentUidMap()));
                            }).finish();
  EXPECT_EQ(count, std::to_string(contiguousIds(currentUidMap())));
}

TEST_F(Registry, MapsOneIdWhereNoMoreIsWanted) {
  const std::string map =
      Child::fork([] {
        EXPECT_EQ(makeUserNamespace(planIds(false)), "");
        const IdMap groups = currentGidMap();
        return fmt::format("{} {}", contiguousIds(currentUidMap()), contiguousIds(groups));
      }).finish();
  EXPECT_EQ(map, "1 1");
}

// --- What forbids it ---

struct Case {
  std::string_view name, file, content;
  int errnum;
  std::string_view why, hint;
};
void PrintTo(const Case& c, std::ostream* out) {
  *out << c.name;
}
constexpr Case kCases[] = {
    {"NoneAllowed", "sys/user/max_user_namespaces", "0\n", ENOSPC, "user.max_user_namespaces is 0",
     "sysctl user.max_user_namespaces="},
    {"NotForUsers", "sys/kernel/unprivileged_userns_clone", "0\n", EPERM,
     "kernel.unprivileged_userns_clone is 0", "sysctl kernel.unprivileged_userns_clone=1"},
    {"AppArmor", "sys/kernel/apparmor_restrict_unprivileged_userns", "1\n", EACCES, "AppArmor",
     "apparmor_restrict_unprivileged_userns=0"},
    {"Seccomp", "self/status", "Name:\tx\nSeccomp:\t2\n", EPERM, "seccomp filter",
     "seccomp=unconfined"},
    {"TooMany", "sys/user/max_user_namespaces", "5\n", ENOSPC, "is reached",
     "raise user.max_user_namespaces"},
    {"NotInThisKernel", "self/status", "Seccomp:\t0\n", EINVAL, "CONFIG_USER_NS", "img doctor"},
    {"NothingKnown", "self/status", "Seccomp:\t0\n", EPERM, "chroot", "img doctor"},
};
class Denied : public testing::TestWithParam<Case> {};
TEST_P(Denied, NamesWhatForbidsItAndTheCure) {
  const fs::TempDir root;
  const Case& one = GetParam();
  const std::string path = "proc/" + std::string{one.file};
  std::ignore = fs::makeDirs(root.fd(), path.substr(0, path.rfind('/')));
  fs::replaceFile(root.fd(), path, one.content, 0644, fs::Sync::none);
  const Error error = explainDenied(one.errnum, root.path());
  EXPECT_EQ(error.code(), "userns-denied");
  EXPECT_NE(error.why().find(one.why), std::string::npos) << error.why();
  std::string hints;
  for (const std::string& hint : error.hints()) hints += hint + "\n";
  EXPECT_NE(hints.find(one.hint), std::string::npos) << hints;
}
INSTANTIATE_TEST_SUITE_P(Kernels, Denied, testing::ValuesIn(kCases),
                         [](const auto& test) { return std::string{test.param.name}; });

}  // namespace
}  // namespace img::runtime::test
