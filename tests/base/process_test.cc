#include "base/process.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <unistd.h>

#include <csignal>

#include "base/fs.h"
#include "base/sys.h"

namespace img {
namespace {

Error errorOf(Child& child) {
  try {
    child.finish();
  } catch (const Error& error) {
    return error;
  }
  return Error{Kind::internal, "nothing was thrown"};
}

std::string sleepForever() {
  for (;;) ::pause();
  return {};
}

TEST(Child, ReturnsWhatItsWorkReturned) {
  Child child = Child::fork([] { return std::string{"answer\0!", 8}; });
  EXPECT_TRUE(child);
  EXPECT_EQ(child.finish(), (std::string{"answer\0!", 8}));
  EXPECT_FALSE(child);
  EXPECT_EQ(Child::fork([] { return std::string{}; }).finish(), "");
}

TEST(Child, ReturnsMoreThanAPipeHolds) {
  Child child = Child::fork([] { return std::string(1 << 20, 'r'); });
  EXPECT_EQ(child.finish(), std::string(1 << 20, 'r'));
}

TEST(Child, ThrowsItsErrorWholeInTheParent) {
  Child child = Child::fork([]() -> std::string {
    throw Error::fromErrno(EPERM, "mount proc")
        .during("preparing {}", "rootfs")
        .hint("use root")
        .code("no-mount")
        .exitCode(125)
        .at(Position{"Dockerfile", 3, 3, 1, 1, ""});
  });
  const Error error = errorOf(child);
  EXPECT_EQ(error.kind(), Kind::denied);
  EXPECT_EQ(error.errnum(), EPERM);
  EXPECT_EQ(error.cause(), "mount proc: Operation not permitted (EPERM)");
  EXPECT_EQ(error.steps(), std::vector<std::string>{"preparing rootfs"});
  EXPECT_EQ(error.hints(), std::vector<std::string>{"use root"});
  EXPECT_EQ(error.code(), "no-mount");
  EXPECT_EQ(error.exitCode(), 125);
  ASSERT_TRUE(error.position());
  EXPECT_EQ(error.position()->line, 3);
}

TEST(Child, ThrowsForeignExceptionsAsInternal) {
  Child child = Child::fork([]() -> std::string { throw std::out_of_range{"index"}; });
  const Error error = errorOf(child);
  EXPECT_EQ(error.kind(), Kind::internal);
  EXPECT_EQ(error.cause(), "index");
}

TEST(Child, ReportsTheSignalThatKilledIt) {
  Child child = Child::fork(sleepForever);
  child.kill(SIGKILL);
  const Error error = errorOf(child);
  EXPECT_EQ(error.kind(), Kind::failed);
  EXPECT_EQ(error.cause(), "a worker process was killed by signal 9");
}

TEST(Child, ReportsAnExitWithoutAnAnswer) {
  Child child = Child::fork([]() -> std::string { ::_exit(7); });
  const Error error = errorOf(child);
  EXPECT_EQ(error.kind(), Kind::internal);
  EXPECT_EQ(error.cause(), "a worker process ended with status 7");
  Child silent = Child::fork([]() -> std::string { ::_exit(0); });
  EXPECT_EQ(errorOf(silent).kind(), Kind::internal) << "status 0 alone is no answer";
}

TEST(Child, IsKilledAndReapedByItsDestructor) {
  pid_t pid = -1;
  {
    const Child child = Child::fork(sleepForever);
    pid = child.pid();
    EXPECT_EQ(::kill(pid, 0), 0);
  }
  EXPECT_EQ(::kill(pid, 0), -1);
  EXPECT_EQ(errno, ESRCH);
}

TEST(Child, MovesWithItsProcessAndAssignmentEndsTheOldOne) {
  Child first = Child::fork(sleepForever);
  const pid_t old = first.pid();
  Child second = Child::fork([] { return std::string{"second"}; });
  first = std::move(second);
  EXPECT_FALSE(second);  // NOLINT(bugprone-use-after-move): what is tested
  EXPECT_EQ(::kill(old, 0), -1);
  EXPECT_EQ(first.finish(), "second");
}

TEST(Child, SaysThroughItsPidfdThatItHasEnded) {
  Child child = Child::fork([] { return std::string{"x"}; });
  pollfd poll{child.pidfd(), POLLIN, 0};
  EXPECT_EQ(::poll(&poll, 1, 30'000), 1);
  EXPECT_EQ(child.finish(), "x");
}

TEST(Child, DoesNotInheritSignalHandlers) {
  const auto old = std::signal(SIGTERM, SIG_IGN);
  Child child = Child::fork(sleepForever);
  std::signal(SIGTERM, old);
  // The disposition is set before the work starts, so the signal may come before that: repeat it.
  pollfd poll{child.pidfd(), POLLIN, 0};
  for (int i = 0; i < 3000; ++i) {
    child.kill(SIGTERM);
    if (::poll(&poll, 1, 10) == 1) break;
  }
  EXPECT_EQ(errorOf(child).cause(), "a worker process was killed by signal 15");
}

TEST(Child, DiesWithItsParent) {
  Pipe life = Pipe::make();
  Child parent = Child::fork([&] {
    life.read.reset();
    const Child grandchild = Child::fork(sleepForever);
    return sleepForever();
  });
  life.write.reset();
  parent.kill(SIGKILL);
  EXPECT_THROW(parent.finish(), Error);
  EXPECT_EQ(readAll(life.read.get(), "pipe"), "") << "ends when the last process has gone";
}

TEST(RunProgram, CollectsBothOutputsAndTheStatus) {
  const Output output = runProgram({"sh", "-c", "echo out; echo err >&2; exit 3"});
  EXPECT_EQ(output.out, "out\n");
  EXPECT_EQ(output.err, "err\n");
  EXPECT_EQ(output.status.code, 3);
  EXPECT_EQ(output.status.signal, 0);
}

TEST(RunProgram, PassesWordsUntouchedByAnyShell) {
  EXPECT_EQ(runProgram({"printf", "%s|", "a b", "$HOME", "*", ""}).out, "a b|$HOME|*||");
}

TEST(RunProgram, GivesStatus127ForAMissingProgramAnd126ForNoProgram) {
  EXPECT_EQ(runProgram({"/nonexistent/program"}).status.code, 127);
  EXPECT_EQ(runProgram({"/"}).status.code, 126);
}

TEST(RunProgram, GivesTheSignalThatEndedTheProgram) {
  const Output output = runProgram({"sh", "-c", "kill -TERM $$"});
  EXPECT_EQ(output.status.code, 128 + SIGTERM);
  EXPECT_EQ(output.status.signal, SIGTERM);
}

TEST(RunProgram, GivesAnEmptyInputWhenNoneIsGiven) {
  EXPECT_EQ(runProgram({"cat"}).out, "");
}

TEST(RunProgram, FeedsAndCollectsMuchAtTheSameTime) {
  std::string input;
  for (int i = 0; input.size() < (size_t{4} << 20); ++i) input += fmt::format("line {}\n", i);
  const Output output = runProgram({"sh", "-c", "tee /dev/stderr"}, input);
  EXPECT_TRUE(output.out == input);
  EXPECT_TRUE(output.err == input);
}

TEST(RunProgram, SurvivesAProgramThatDoesNotReadItsInput) {
  const auto old = std::signal(SIGPIPE, SIG_IGN);  // as main does
  const Output output = runProgram({"sh", "-c", "exec <&-; echo done"}, std::string(1 << 20, 'x'));
  std::signal(SIGPIPE, old);
  EXPECT_EQ(output.out, "done\n");
  EXPECT_EQ(output.status.code, 0);
}

TEST(RunProgram, GivesAProgramItsEnvironmentAndNoOther) {
  const Output output = runProgram(Program{{"/usr/bin/env"}, {"ONLY=this"}, "", {}, false});
  EXPECT_EQ(output.out, "ONLY=this\n");
}

TEST(RunProgram, GivesAProgramItsDescriptorsAndNoOther) {
  const fs::TempDir temp;
  const Fd first = sys::openat(temp.fd(), "first", O_RDWR | O_CREAT, 0600);
  const Fd second = sys::openat(temp.fd(), "second", O_RDWR | O_CREAT, 0600);
  const Fd other{::dup(first.get())};  // not close-on-exec
  const Program program{{"sh", "-c", "echo a >&3; echo b >&4; ls /proc/self/fd | tr '\\n' ' '"},
                        {"PATH=/usr/bin:/bin"},
                        "",
                        {second.get(), first.get()},
                        false};
  const Output output = runProgram(program);
  EXPECT_EQ(fs::readFile(temp.fd(), "second"), "a\n");
  EXPECT_EQ(fs::readFile(temp.fd(), "first"), "b\n");
  EXPECT_EQ(output.out, "0 1 2 3 4 5 ");  // 5: the folder that ls reads
}

TEST(RunProgram, FeedsAProgramOfTheListedKind) {
  EXPECT_EQ(runProgram(Program{{"cat"}, {}, "some input", {}, false}).out, "some input");
}

TEST(RunProgram, EndsWhatAProgramHasStartedWhenAsked) {
  if (::geteuid() != 0) GTEST_SKIP() << "a pid namespace needs root";
  // The sleeper would hold the pipe of our stdout for 100 s.
  const Program program{{"sh", "-c", "sleep 100 & exit 7"}, {"PATH=/usr/bin:/bin"}, "", {}, true};
  EXPECT_EQ(runProgram(program).status.code, 7);
}

}  // namespace
}  // namespace img
