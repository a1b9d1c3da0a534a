#include "runtime/monitor.h"

#include <gtest/gtest.h>
#include <pty.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <csignal>

namespace img::runtime {
namespace {

TEST(SignalCatcher, KeepsSignalsUntilTheyAreTaken) {
  const SignalCatcher signals;
  EXPECT_EQ(signals.take(), 0);
  ::kill(::getpid(), SIGTERM);
  ::kill(::getpid(), SIGUSR1);
  const int first = signals.take();
  const int second = signals.take();
  EXPECT_EQ(first + second, SIGTERM + SIGUSR1);
  EXPECT_EQ(signals.take(), 0);
}

TEST(SignalCatcher, PutsTheMaskBack) {
  sigset_t before;
  ::sigprocmask(SIG_BLOCK, nullptr, &before);
  {
    const SignalCatcher signals;
    sigset_t during;
    ::sigprocmask(SIG_BLOCK, nullptr, &during);
    EXPECT_EQ(::sigismember(&during, SIGINT), 1);
    EXPECT_EQ(::sigismember(&during, SIGCHLD), 0);
  }
  sigset_t after;
  ::sigprocmask(SIG_BLOCK, nullptr, &after);
  EXPECT_EQ(::sigismember(&after, SIGINT), ::sigismember(&before, SIGINT));
}

TEST(WindowSize, IsCopiedFromOneTerminalToAnother) {
  int master[2];
  int slave[2];
  for (int i = 0; i < 2; ++i) {
    if (::openpty(&master[i], &slave[i], nullptr, nullptr, nullptr) != 0) {
      GTEST_SKIP() << "no pseudo terminals here";
    }
  }
  const winsize wanted{33, 77, 0, 0};
  ::ioctl(master[0], TIOCSWINSZ, &wanted);
  copyWindowSize(slave[0], master[1]);
  winsize got{};
  ::ioctl(slave[1], TIOCGWINSZ, &got);
  EXPECT_EQ(got.ws_row, 33);
  EXPECT_EQ(got.ws_col, 77);
  copyWindowSize(-1, master[1]);  // no terminal: nothing changes
  ::ioctl(slave[1], TIOCGWINSZ, &got);
  EXPECT_EQ(got.ws_row, 33);
  for (int i = 0; i < 2; ++i) {
    ::close(master[i]);
    ::close(slave[i]);
  }
}

}  // namespace
}  // namespace img::runtime
