#include "runtime/exec.h"

#include <fcntl.h>
#include <unistd.h>

#include <tuple>

#include "base/sys.h"
#include "base/text.h"
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
