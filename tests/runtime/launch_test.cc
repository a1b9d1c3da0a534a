#include "runtime/launch.h"

#include <fcntl.h>
#include <linux/mount.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>

#include "base/sys.h"
#include "base/text.h"
#include "tests/runtime/sandbox.h"

namespace img::runtime::test {
namespace {

class Launch : public Sandbox {};

TEST_F(Launch, RunsACommandAndReturnsItsOutputAndStatus) {
  const Result result = run("echo out; echo err >&2; exit 7");
  EXPECT_EQ(result.out, "out\n");
  EXPECT_EQ(result.err, "err\n");
  EXPECT_EQ(result.code, 7);
}

TEST_F(Launch, GivesEveryNamespaceButTheUserOneAnew) {
  const std::string inside =
      run("for n in mnt pid ipc uts net cgroup; do readlink /proc/self/ns/$n; done").out;
  for (const char* name : {"mnt", "pid", "ipc", "uts", "net", "cgroup"}) {
    const std::string ours = sys::readlinkat(AT_FDCWD, std::string{"/proc/self/ns/"} + name);
    EXPECT_EQ(inside.find(ours), std::string::npos) << ours;
  }
}

TEST_F(Launch, SharesTheHostsNetworkWhenAsked) {
  Spec one = shell("readlink /proc/self/ns/net; ls /sys >/dev/null && echo sys");
  one.network = Network::host;
  EXPECT_EQ(run(one).out, sys::readlinkat(AT_FDCWD, "/proc/self/ns/net") + "\nsys\n");
}

TEST_F(Launch, JoinsANetworkNamespace) {
  Spec first = spec({"/bin/sleep", "100"});
  Container owner = start(first);
  const Fd net = sys::openat(AT_FDCWD, fmt::format("/proc/{}/ns/net", owner.pid()), O_RDONLY);
  Spec second = shell("readlink /proc/self/ns/net");
  second.network = Network::join;
  second.networkNamespace = net.get();
  EXPECT_EQ(text::trim(run(second).out),
            sys::readlinkat(AT_FDCWD, fmt::format("/proc/{}/ns/net", owner.pid())));
}

TEST_F(Launch, SetsTheHostNameAndBringsLoopbackUp) {
  const Result result = run("hostname; hostname other 2>/dev/null || echo fixed; ip link show lo");
  EXPECT_EQ(result.out.substr(0, 10), "box\nfixed\n");
  EXPECT_NE(result.out.find("UP"), std::string::npos) << result.out;
}

TEST_F(Launch, GivesExactlyTheEnvironmentOfTheSpecAndHome) {
  ::setenv("SECRET_OF_THE_CALLER", "1", 1);
  Spec one = spec({"/bin/env"});
  EXPECT_EQ(run(one).out, "PATH=/bin\nMARK=1\nHOME=/root\n");
  one.env.push_back("HOME=/x");
  EXPECT_EQ(run(one).out, "PATH=/bin\nMARK=1\nHOME=/x\n");
}

TEST_F(Launch, CreatesTheWorkingFolderAndEntersIt) {
  Spec one = shell("pwd; stat -c %a:%u /work/deep");
  one.cwd = "/work/deep";
  EXPECT_EQ(run(one).out, "/work/deep\n755:0\n");
}

TEST_F(Launch, EntersAWorkingFolderThatOnlyRootMayEnter) {
  sys::mkdirat(root(), "closed", 0700);
  Spec one = shell("pwd");
  one.cwd = "/closed";
  one.user = "app";
  EXPECT_EQ(run(one).out, "/closed\n");
}

TEST_F(Launch, FollowsLinksOfTheWorkingFolderInsideTheRootOnly) {
  fs::TempDir outside;
  sys::symlinkat(outside.path(), root(), "link");
  Spec one = shell("pwd");
  one.cwd = "/link/new";
  EXPECT_EQ(failure(one).exitCode(), 125) << "a dangling link is no place to create";
  EXPECT_TRUE(fs::list(outside.fd()).empty());
}

TEST_F(Launch, RefusesWorkingFoldersThatAreDescriptorsOrProc) {
  const Fd leaked = sys::openDirectory(AT_FDCWD, "/");
  for (const std::string path :
       {"/proc/self/fd/3", "/proc/self/fd/4", "/proc/self/fd/7", "/proc/self/cwd", "/proc/1/root",
        "/proc", "/proc/self/fd/9/../.."}) {
    Spec one = shell("pwd; ls /");
    one.cwd = path;
    // Also through a shell's own cd, which sees what is really open.
    const Error error = failure(one);
    if (error.kind() == Kind::internal) {  // cleaned to "/": allowed, and it is the container's
      EXPECT_EQ(run(one).out.substr(0, 2), "/\n");
    } else {
      EXPECT_EQ(error.exitCode(), 125) << path << ": " << error.what();
    }
  }
}

TEST_F(Launch, LeaksNoDescriptor) {
  std::vector<Fd> open;
  for (int i = 0; i < 20; ++i) open.emplace_back(::open("/", O_RDONLY | O_DIRECTORY));
  const int high = ::dup2(open[0].get(), 100);
  Spec one = spec({"/bin/ls", "/proc/self/fd"});
  EXPECT_EQ(run(one).out, "0\n1\n2\n3\n") << "3 is ls reading the folder";
  ::close(high);
}

TEST_F(Launch, ResetsSignalsUmaskAndLimitsOfTheCaller) {
  sigset_t blocked;
  ::sigemptyset(&blocked);
  ::sigaddset(&blocked, SIGTERM);
  ::sigprocmask(SIG_BLOCK, &blocked, nullptr);
  const auto old = ::signal(SIGHUP, SIG_IGN);
  const mode_t mask = ::umask(077);
  const std::string status = run("cat /proc/self/status; umask; ulimit -c").out;
  ::umask(mask);
  ::signal(SIGHUP, old);
  ::sigprocmask(SIG_UNBLOCK, &blocked, nullptr);
  EXPECT_EQ(field(status, "SigBlk:"), "0000000000000000");
  EXPECT_EQ(field(status, "SigIgn:"), "0000000000000000");
  EXPECT_NE(status.find("\n0022\n0\n"), std::string::npos);
}

TEST_F(Launch, SetsTheLimitsThatWereAskedFor) {
  Spec one = shell("ulimit -n");
  one.resourceLimits = {{RLIMIT_NOFILE, 77, 100}};
  EXPECT_EQ(run(one).out, "77\n");
}

TEST_F(Launch, NamesALimitThatCannotBeSet) {
  Spec one = shell("true");
  one.resourceLimits = {{RLIMIT_NOFILE, 1, std::uint64_t{1} << 40}};  // above fs.nr_open
  const Error error = failure(one);
  EXPECT_EQ(error.exitCode(), 125);
  EXPECT_NE(error.cause().find("set the limit nofile to 1:1099511627776"), std::string::npos)
      << error.cause();
}

TEST_F(Launch, ReportsWhyACommandCannotRun) {
  write("bin/script", "#!/no/such/shell\n", 0755);
  write("bin/plain", "text", 0644);
  write("bin/noheader", "no header\n", 0755);
  write("fifo-dir", "", 0644);
  const struct {
    const char* command;
    int code;
    const char* message;
  } cases[] = {
      {"nosuch", 127, "\"nosuch\" not found in the image (looked in /bin)"},
      {"/nosuch", 127, "\"/nosuch\" not found in the image"},
      {"/bin/plain", 126, "cannot run \"/bin/plain\": permission denied"},
      {"plain", 126, "cannot run \"/bin/plain\": permission denied"},
      {"/bin", 126, "cannot run \"/bin\": it is a folder"},
      {"script", 127,
       "cannot run \"/bin/script\": its interpreter \"/no/such/shell\" does not exist in the "
       "container"},
      {"noheader", 126, "execute \"noheader\": Exec format error (ENOEXEC)"},
  };
  for (const auto& one : cases) {
    Spec broken = spec({one.command});
    const Error error = failure(broken);
    EXPECT_EQ(error.exitCode(), one.code) << one.command;
    EXPECT_STREQ(error.what(), one.message);
  }
}

TEST_F(Launch, NamesAMissingElfLoader) {
  // The test program itself is dynamic, and its loader is not in the image.
  const std::string self = fs::readFile(AT_FDCWD, "/bin/ls");
  write("bin/dynamic", self, 0755);
  Spec one = spec({"dynamic"});
  const Error error = failure(one);
  EXPECT_EQ(error.exitCode(), 127);
  EXPECT_NE(std::string{error.what()}.find("ld-linux"), std::string::npos) << error.what();
}

TEST_F(Launch, ReturnsTheSignalThatEndedTheCommand) {
  Spec one = spec({"/bin/sleep", "100"});
  Container container = start(one);
  container.kill(SIGKILL);
  const ExitStatus status = container.wait();
  EXPECT_EQ(status.code, 137);
  EXPECT_EQ(status.signal, SIGKILL);
}

TEST_F(Launch, EndsEverythingWithTheFirstProcess) {
  // The output ends only when its last holder is gone, so a survivor would hang this test.
  EXPECT_EQ(run("setsid sleep 1000 & (setsid sleep 1000 &) ; echo started").out, "started\n");
}

TEST_F(Launch, DiesWithItsParent) {
  Pipe alive = Pipe::make();
  const pid_t parent = ::fork();
  if (parent == 0) {
    Spec one = spec({"/bin/sleep", "100"});
    one.standardOutput = alive.write.get();
    Container container = start(one);
    ::kill(::getpid(), SIGKILL);
  }
  ::waitpid(parent, nullptr, 0);
  alive.write.reset();
  EXPECT_EQ(readAll(alive.read.get(), "pipe"), "") << "ends when the container's copy is closed";
}

TEST_F(Launch, ReapsAndForwardsSignalsAsInit) {
  Spec one = shell(
      "trap 'echo got; exit 9' TERM; (sleep 0 &); echo ready; while true; do sleep 0.01; done");
  one.init = true;
  Pipe out = Pipe::make();
  one.standardOutput = out.write.get();
  Container container = start(one);
  out.write.reset();
  char ready[6];
  ASSERT_EQ(readFull(out.read.get(), std::as_writable_bytes(std::span{ready}), "output"), 6U);
  container.kill(SIGTERM);
  EXPECT_EQ(readAll(out.read.get(), "output"), "got\n");
  EXPECT_EQ(container.wait().code, 9);
}

TEST_F(Launch, InitReportsACommandThatCannotRun) {
  write("bin/noheader", "no header\n", 0755);
  Spec one = spec({"noheader"});
  one.init = true;
  EXPECT_EQ(failure(one).exitCode(), 126);
}

std::string readTerminal(const Fd& master) {
  std::string out;
  char buffer[512];
  // EIO when the last process lets go of the other side (pty(7)).
  for (ssize_t n; (n = ::read(master.get(), buffer, sizeof buffer)) > 0;) {
    out.append(buffer, static_cast<size_t>(n));
  }
  return out;
}

TEST_F(Launch, GivesATerminalOfTheWantedSize) {
  Spec one = shell("tty; stty size; test -c /dev/console && echo console");
  one.tty = true;
  one.ttyRows = 33;
  one.ttyColumns = 99;
  Container container = start(one);
  const Fd master = container.takeTerminal();
  const std::string out = readTerminal(master);
  EXPECT_EQ(container.wait().code, 0);
  EXPECT_EQ(out, "/dev/pts/0\r\n33 99\r\nconsole\r\n");
}

TEST_F(Launch, GivesTheTerminalToTheCommandUnderInit) {
  Spec one = shell("read line; echo got $line; ps -o pid,args | head -n 2 | wc -l");
  one.tty = true;
  one.init = true;
  Container container = start(one);
  const Fd master = container.takeTerminal();
  writeAll(master.get(), std::string_view{"hello\n"}, "terminal");
  EXPECT_NE(readTerminal(master).find("got hello"), std::string::npos);
  EXPECT_EQ(container.wait().code, 0);
}

TEST_F(Launch, LetsAnotherUserOpenItsOutputAnew) {
  Spec one = shell("echo once > /dev/stdout && echo twice > /proc/self/fd/1");
  one.user = "app";
  EXPECT_EQ(run(one).out, "once\ntwice\n");
}

TEST_F(Launch, DoesNotStartInAMissingRoot) {
  Spec one = shell("true");
  one.mountRootfs = []() -> Fd { throw Error{Kind::failed, "no such root"}; };
  EXPECT_STREQ(failure(one).what(), "no such root");
}

}  // namespace
}  // namespace img::runtime::test
