#include "cli/daemon.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fd.h"

namespace img::cli {
namespace {

TEST(Daemon, GivesItsAnswer) {
  bool wasCalled = false;
  EXPECT_EQ(spawnDaemon([](const Ready& ready) { ready("hello"); }, [&] { wasCalled = true; }),
            "hello");
  EXPECT_TRUE(wasCalled);
}

TEST(Daemon, LivesInASessionOfItsOwnAtTheRoot) {
  const std::string answer = spawnDaemon(
      [](const Ready& ready) {
        char folder[4096] = {};
        const bool isLeader = ::getsid(0) == ::getpid();
        ready(std::string{isLeader ? "leader " : "follower "} + ::getcwd(folder, sizeof folder));
      },
      [] {});
  EXPECT_EQ(answer, "leader /");
}

TEST(Daemon, ThrowsHereWhatItThrewBeforeItWasReady) {
  try {
    spawnDaemon([](const Ready&) { throw Error{Kind::exists, "no"}.exitCode(126); }, [] {});
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), Kind::exists);
    EXPECT_EQ(error.cause(), "no");
    EXPECT_EQ(error.exitCode(), 126);
  }
}

TEST(Daemon, ThatDiesSilentlyIsAnError) {
  EXPECT_THROW(spawnDaemon([](const Ready&) { ::_exit(3); }, [] {}), Error);
}

TEST(Daemon, HoldsNothingThatTheCallerHadOpen) {
  // A pipe as a shell passes it on: without close-on-exec. Its reader must see the end when we let
  // go of it.
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);  // NOLINT(android-cloexec-pipe): that is the point
  Fd reader{ends[0]};
  Fd writer{ends[1]};
  Pipe hold = Pipe::make();
  spawnDaemon(
      [&](const Ready& ready) {
        hold.write.reset();
        ready("");
        char byte;
        while (::read(hold.read.get(), &byte, 1) < 0) continue;  // until the test lets go
      },
      [] {});
  writer.reset();
  pollfd ready{reader.get(), POLLIN, 0};
  ASSERT_EQ(::poll(&ready, 1, 5000), 1);
  char byte;
  EXPECT_EQ(::read(reader.get(), &byte, 1), 0);
}

}  // namespace
}  // namespace img::cli
