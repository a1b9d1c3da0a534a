#include "runtime/exec.h"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <span>
#include <tuple>

#include "base/sys.h"
#include "base/text.h"
#include "runtime/security.h"
#include "tests/runtime/sandbox.h"

namespace img::runtime::test {
namespace {

class Exec : public Sandbox {
 protected:
  Container keeper() const {
    Spec one = spec({"/bin/sleep", "100"});
    return start(one);
  }
  Result execIn(const Container& container, Spec one) const {
    Pipe out = Pipe::make();
    one.standardOutput = out.write.get();
    one.standardError = out.write.get();
    Container inside = execute(container.pidfd(), container.pid(), one);
    out.write.reset();
    Result result;
    result.out = readAll(out.read.get(), "output");
    result.code = inside.wait().code;
    return result;
  }
};

TEST_F(Exec, JoinsAllNamespaces) {
  const Container container = keeper();
  const Result result = execIn(
      container,
      shell("for n in mnt pid ipc uts net cgroup; do readlink /proc/self/ns/$n; done; hostname"));
  std::string expected;
  for (const char* name : {"mnt", "pid", "ipc", "uts", "net", "cgroup"}) {
    expected +=
        sys::readlinkat(AT_FDCWD, fmt::format("/proc/{}/ns/{}", container.pid(), name)) + "\n";
  }
  EXPECT_EQ(result.out, expected + "box\n");
}

TEST_F(Exec, SeesTheFirstProcessAndReturnsItsOwnStatus) {
  const Container container = keeper();
  const Result result = execIn(container, shell("head -n 1 /proc/1/status; exit 3"));
  EXPECT_EQ(result.out, "Name:\tsleep\n");
  EXPECT_EQ(result.code, 3);
}

TEST_F(Exec, IsConfinedAsTheContainerIs) {
  const Container container = keeper();
  const std::string status =
      execIn(container, shell("cat /proc/self/status; ls /proc/self/fd")).out;
  EXPECT_EQ(field(status, "CapInh:"), "0000000000000000");
  EXPECT_EQ(field(status, "CapEff:"), "00000000800405fb");
  EXPECT_EQ(field(status, "CapBnd:"), "00000000800405fb");
  EXPECT_EQ(field(status, "CapAmb:"), "0000000000000000");
  EXPECT_EQ(field(status, "Seccomp:"), "2");
  EXPECT_EQ(field(status, "NSpid:").find('\t') != std::string::npos, false)
      << "seen from inside: one pid";
  EXPECT_EQ(status.substr(status.rfind("0\n1\n2")), "0\n1\n2\n3\n");
}

TEST_F(Exec, RunsAsTheUserInTheFolderItWasGiven) {
  const Container container = keeper();
  Spec one = shell("id -u; pwd; echo $HOME");
  one.user = "app";
  one.cwd = "/tmp";
  EXPECT_EQ(execIn(container, std::move(one)).out, "1000\n/tmp\n/home/app\n");
}

TEST_F(Exec, DistinguishesMissingFromUnusable) {
  const Container container = keeper();
  const auto code = [&](Spec one) -> std::optional<int> {
    try {
      const Container inside = execute(container.pidfd(), container.pid(), one);
    } catch (const Error& error) {
      return error.exitCode();
    }
    return 0;
  };
  EXPECT_EQ(code(spec({"nosuch"})), 127);
  EXPECT_EQ(code(spec({"/etc/passwd"})), 126);
  Spec missing = shell("true");
  missing.cwd = "/no/such/folder";
  EXPECT_EQ(code(std::move(missing)), 126);
  Spec leak = shell("true");
  leak.cwd = "/proc/self/fd/5";
  EXPECT_EQ(code(std::move(leak)), 126);
}

TEST_F(Exec, GivesATerminal) {
  const Container container = keeper();
  Spec one = shell("tty; stty size");
  one.tty = true;
  one.ttyRows = 10;
  one.ttyColumns = 20;
  Container inside = execute(container.pidfd(), container.pid(), one);
  const Fd master = inside.takeTerminal();
  std::string out;
  char buffer[512];
  for (ssize_t n; (n = ::read(master.get(), buffer, sizeof buffer)) > 0;) {
    out.append(buffer, static_cast<size_t>(n));
  }
  EXPECT_EQ(out, "/dev/pts/0\r\n10 20\r\n");
  EXPECT_EQ(inside.wait().code, 0);
}

TEST_F(Exec, IsNeverSeenAsOurOwnProgram) {
  // A container that may trace looks at the program of every process it can see, as fast as it can.
  Spec one = shell("while true; do readlink /proc/[0-9]*/exe; done");
  one.capabilities |= parseCapability("SYS_PTRACE");
  Pipe out = Pipe::make();
  one.standardOutput = out.write.get();
  Container container = start(one);
  out.write.reset();
  std::string seen;
  for (int i = 0; i < 8; ++i) {
    EXPECT_EQ(execIn(container, spec({"/bin/true"})).code, 0);
    char some[512];
    seen.append(some, readFull(out.read.get(), std::as_writable_bytes(std::span{some}), "output"));
  }
  container.kill(9);
  container.wait();
  EXPECT_NE(seen.find("/bin/busybox"), std::string::npos);
  const std::string ours = sys::readlinkat(AT_FDCWD, "/proc/self/exe");
  EXPECT_EQ(seen.find(ours.substr(ours.rfind('/'))), std::string::npos) << seen;
}

TEST_F(Exec, HasItsOwnSessionAndTerminal) {
  const Container container = keeper();
  Spec one = shell("read line < /dev/tty; echo got $line");
  one.tty = true;
  Container inside = execute(container.pidfd(), container.pid(), one);
  const Fd master = inside.takeTerminal();
  writeAll(master.get(), std::string_view{"hello\n"}, "terminal");
  std::string out;
  char buffer[512];
  for (ssize_t n; (n = ::read(master.get(), buffer, sizeof buffer)) > 0;) {
    out.append(buffer, static_cast<size_t>(n));
  }
  EXPECT_NE(out.find("got hello"), std::string::npos) << out;
  EXPECT_EQ(inside.wait().code, 0);
}

TEST_F(Exec, DiesWithItsParent) {
  // The orphan comes to us: a pid namespace cannot end before its last zombie is reaped.
  ::prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
  Pipe alive = Pipe::make();
  const Container container = keeper();
  const pid_t parent = ::fork();
  if (parent == 0) {
    Spec one = spec({"/bin/sleep", "100"});
    one.standardOutput = alive.write.get();
    const Container inside = execute(container.pidfd(), container.pid(), one);
    ::kill(::getpid(), SIGKILL);
  }
  ::waitpid(parent, nullptr, 0);
  alive.write.reset();
  EXPECT_EQ(readAll(alive.read.get(), "pipe"), "");
  ::waitpid(-1, nullptr, 0);
  ::prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0);
}

TEST_F(Exec, EndsWithTheContainer) {
  Container container = keeper();
  Spec one = spec({"/bin/sleep", "100"});
  Container inside = execute(container.pidfd(), container.pid(), one);
  container.kill(9);
  EXPECT_EQ(inside.wait().code, 137);
  EXPECT_EQ(container.wait().code, 137);
}

TEST_F(Exec, FailsForAContainerThatHasEnded) {
  Container container = keeper();
  container.kill(9);
  container.wait();
  Spec one = shell("true");
  EXPECT_THROW(std::ignore = execute(container.pidfd(), container.pid(), one), Error);
}

}  // namespace
}  // namespace img::runtime::test
