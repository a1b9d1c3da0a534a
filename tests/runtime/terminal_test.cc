#include "runtime/terminal.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fd.h"

namespace img::runtime::test {
namespace {

struct Pty {
  Fd master, slave;
  Pty() {
    master = Fd{::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC)};
    ::grantpt(master.get());
    ::unlockpt(master.get());
    char name[64];
    ::ptsname_r(master.get(), name, sizeof name);
    slave = Fd{::open(name, O_RDWR | O_NOCTTY | O_CLOEXEC)};
  }
};

bool isRaw(int fd) {
  termios now{};
  ::tcgetattr(fd, &now);
  return (now.c_lflag & (ICANON | ECHO | ISIG)) == 0;
}

TEST(RawModeGuard, RestoresTheTerminal) {
  const Pty pty;
  {
    const RawMode raw{pty.slave.get()};
    EXPECT_TRUE(isRaw(pty.slave.get()));
  }
  EXPECT_FALSE(isRaw(pty.slave.get()));
}

TEST(RawModeGuard, LeavesPipesAlone) {
  const Pipe pipe = Pipe::make();
  const RawMode raw{pipe.read.get()};
  EXPECT_FALSE(windowSize(pipe.read.get()));
}

TEST(WindowSize, IsSetAndRead) {
  const Pty pty;
  setWindowSize(pty.master.get(), {24, 80});
  EXPECT_EQ(windowSize(pty.slave.get()), (WindowSize{24, 80}));
}

}  // namespace
}  // namespace img::runtime::test
