#include "base/interruption.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <csignal>
#include <thread>

#include "base/error.h"
#include "base/stream.h"

namespace img {
namespace {

TEST(InterruptionScope, TurnsASignalIntoAnError) {
  const InterruptionScope scope;
  EXPECT_NO_THROW(throwIfInterrupted());
  ::raise(SIGTERM);
  try {
    throwIfInterrupted();
    FAIL() << "nothing was thrown";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), "interrupted");
    EXPECT_EQ(error.exitCode(), 143);
  }
  EXPECT_THROW(throwIfInterrupted(), Error) << "whoever else asks is told, too";
}

TEST(InterruptionScope, EndsTheWaitsOfAllThreads) {
  const InterruptionScope scope;
  int ends[2];
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  const Fd writer{ends[1]}, reader{ends[0]};
  std::array<std::thread, 4> threads;
  std::atomic<int> ended = 0;
  for (std::thread& thread : threads) {
    thread = std::thread{[&] {
      try {
        waitOrThrow(reader.get(), POLLIN);
      } catch (const Error&) {
        ++ended;
      }
    }};
  }
  ::kill(::getpid(), SIGINT);
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(ended, 4);
}

TEST(InterruptionScope, LeavesASignalToTheScopeAroundIt) {
  const InterruptionScope outer;
  {
    const InterruptionScope inner;
    ::raise(SIGTERM);
    EXPECT_THROW(throwIfInterrupted(), Error);
  }
  EXPECT_THROW(throwIfInterrupted(), Error);
}

TEST(InterruptionScope, EndsAReadThatWouldWaitForever) {
  const InterruptionScope scope;
  int ends[2];
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  const Fd writer{ends[1]};
  FdSource source{Fd{ends[0]}, "a pipe"};
  ::raise(SIGHUP);
  std::byte byte{};
  EXPECT_THROW(source.read({&byte, 1}), Error);
}

TEST(InterruptionScope, AsksNothingInAChild) {
  const InterruptionScope scope;
  const pid_t child = ::fork();
  if (child == 0) ::_exit(interruptionFd() == -1 ? 0 : 1);
  int status = -1;
  ::waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
}

TEST(InterruptionScope, WithoutOneNothingIsAsked) {
  EXPECT_EQ(interruptionFd(), -1);
  EXPECT_NO_THROW(throwIfInterrupted());
  EXPECT_NO_THROW(waitOrThrow(-1, POLLIN));
}

}  // namespace
}  // namespace img
