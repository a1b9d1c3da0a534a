#include "base/interruption.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

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
  EXPECT_NO_THROW(throwIfInterrupted());
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
