#include "runtime/chroot_run.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "base/error.h"
#include "base/sys.h"
#include "base/text.h"
#include "tests/runtime/sandbox.h"

namespace img::runtime::test {
namespace {

class ChrootRun : public Sandbox {
 protected:
  void SetUp() override {
    Sandbox::SetUp();
    sys::tryMkdirat(root(), "dev", 0755);
    hasNodes = fillDevices(sys::openDirectory(root(), "dev").get());
  }
  Spec command(const std::string& script) const {
    Spec made = shell(script);
    made.noNewPrivs = true;
    return made;
  }
  // What it said on both streams, with its status at the end.
  std::string runHere(Spec spec) const {
    Pipe output = Pipe::make();
    spec.standardOutput = spec.standardError = output.write.get();
    Container container = startInChroot(spec, root());
    output.write.reset();
    const ExitStatus status = container.wait();
    return readAll(output.read.get(), "output") + std::to_string(status.code);
  }
  bool hasNodes = false;
};

TEST_F(ChrootRun, TheCommandSeesOnlyItsRoot) {
  EXPECT_EQ(runHere(command("cd /; cd ..; pwd; ls -d /bin /proc/1 2>/dev/null")), "/\n/bin\n1");
}

TEST_F(ChrootRun, ItsStatusComesBackAlsoOfASignal) {
  EXPECT_EQ(runHere(command("exit 7")), "7");
  EXPECT_EQ(runHere(command("kill -9 $$")), "137");
  Spec missing = spec({"/nowhere"});
  missing.noNewPrivs = true;
  try {
    startInChroot(missing, root());
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.exitCode(), 127);
  }
}

TEST_F(ChrootRun, WhatItLeavesBehindIsGoneBeforeItsEndIsReported) {
  // The reader sees the end of the pipe only when the last writer is gone.
  EXPECT_EQ(runHere(command("setsid sh -c 'setsid sleep 1000 & trap \"\" TERM; sleep 1000' & "
                            "echo started")),
            "started\n0");
}

TEST_F(ChrootRun, EverythingEndsWithTheHandle) {
  Pipe output = Pipe::make();
  Spec spec = command("setsid sleep 1000 & echo ready; sleep 1000");
  spec.standardOutput = output.write.get();
  {
    const Container container = startInChroot(spec, root());
    output.write.reset();
    char byte = 0;
    ASSERT_EQ(::read(output.read.get(), &byte, 1), 1);
  }
  EXPECT_EQ(readAll(output.read.get(), "output"), "eady\n");
}

TEST_F(ChrootRun, SignalsReachTheCommand) {
  Pipe output = Pipe::make();
  Spec spec = command("trap 'exit 5' TERM; echo ready; while :; do sleep 0.01; done");
  spec.standardOutput = output.write.get();
  Container container = startInChroot(spec, root());
  char byte = 0;
  ASSERT_EQ(::read(output.read.get(), &byte, 1), 1);
  container.kill(SIGTERM);
  EXPECT_EQ(container.wait().code, 5);
}

TEST_F(ChrootRun, ItBecomesTheUser) {
  Spec spec = command("id -u; id -g");
  spec.user = "5:6";
  EXPECT_EQ(runHere(std::move(spec)), "5\n6\n0");
}

TEST_F(ChrootRun, DevicesAreNodesWhereTheyMayBeMade) {
  const struct stat st = sys::fstatat(root(), "dev/null");
  if (!hasNodes) {
    EXPECT_TRUE(S_ISREG(st.st_mode));
    return;
  }
  EXPECT_TRUE(S_ISCHR(st.st_mode));
  EXPECT_EQ(st.st_rdev, makedev(1, 3));
  EXPECT_EQ(st.st_mode & 07777, 0666U);
}

}  // namespace
}  // namespace img::runtime::test
