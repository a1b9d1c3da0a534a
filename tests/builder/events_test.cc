#include "builder/events.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <csignal>
#include <string>
#include <utility>

#include "base/fs.h"
#include "builder/cache.h"
#include "builder/layer_step.h"
#include "builder/sealer.h"
#include "tests/builder/support.h"

namespace img::builder {
namespace {

using std::chrono::milliseconds;

class EventsTest : public testing::Test {
 protected:
  fs::TempDir temp_;
  store::Layout layout_ = store::Layout::open(temp_.path() + "/store");
  StepCache cache_{layout_};
  RecordingProgress progress_;
  StepOptions options_;
  Sealer sealer_{layout_, cache_, progress_, std::nullopt, options_};
  Events events_{sealer_, progress_};
  std::string log_;

  template <class... Tasks>
  void run(Tasks&&... tasks) {
    std::vector<Task<>> list;
    (list.push_back(std::forward<Tasks>(tasks)), ...);
    events_.run(std::move(list));
  }

  Task<> note(std::string text) {
    log_ += text;
    co_return;
  }
  Task<> noteAfter(milliseconds delay, std::string text) {
    co_await events_.pause(delay);
    log_ += text;
  }
  Task<> noteWhen(const bool& condition, std::string text) {
    co_await events_.until([&condition] { return condition; });
    log_ += text;
  }
  Task<> failWith(std::string cause) {
    co_await events_.pause(milliseconds{1});
    throw Error{Kind::failed, cause};
  }
  // Waits for ever, and tells how that ended.
  Task<> waitForEver(std::string cleanUp) {
    bool isCancelled = false;
    try {
      co_await events_.until([] { return false; });
    } catch (const Cancelled&) {
      isCancelled = true;
    }
    if (!isCancelled) co_return;
    co_await events_.untilEnd(-1, milliseconds{5});
    log_ += cleanUp;
    throw Cancelled{};
  }
};

Task<int> answer() {
  co_return 42;
}
Task<std::string> fails() {
  throw Error{Kind::failed, "no answer"};
  co_return "";
}

TEST_F(EventsTest, IdleWorkIsDoneBeforeEverythingWaits) {
  events_.whenIdle([this, isFirst = true]() mutable {
    if (std::exchange(isFirst, false)) log_ += "idle ";
  });
  run(noteAfter(milliseconds{1}, "first "), note("second "));
  EXPECT_EQ(log_, "second idle first ");
}

TEST_F(EventsTest, ATaskHandsItsResultToWhoAwaitsIt) {
  int result = 0;
  const auto caller = [&]() -> Task<> { result = co_await answer(); };
  run(caller());
  EXPECT_EQ(result, 42);
}

TEST_F(EventsTest, ATaskHandsItsErrorToWhoAwaitsIt) {
  std::string cause;
  const auto caller = [&]() -> Task<> {
    try {
      co_await fails();
    } catch (const Error& error) {
      cause = error.cause();
    }
  };
  run(caller());
  EXPECT_EQ(cause, "no answer");
}

TEST_F(EventsTest, DestroyingATaskThatNeverRanRunsNothing) {
  { const Task<> task = note("ran"); }
  EXPECT_EQ(log_, "");
}

TEST_F(EventsTest, TasksGoOnInTheOrderOfTheirEvents) {
  run(noteAfter(milliseconds{20}, "b"), noteAfter(milliseconds{1}, "a"), note("0"));
  EXPECT_EQ(log_, "0ab");
}

TEST_F(EventsTest, TellsWhichDescriptorIsReady) {
  const Pipe first = Pipe::make();
  const Pipe second = Pipe::make();
  unsigned ready = 0;
  writeAll(second.write.get(), "x", "pipe");
  const auto reader = [&]() -> Task<> {
    ready = co_await events_.readable(first.read.get(), second.read.get());
  };
  run(reader());
  EXPECT_EQ(ready, Events::kSecond);
}

TEST_F(EventsTest, MoreTasksMayWaitThanDescriptorsMayBeOpen) {
  Child child = Child::fork([&] {
    const rlimit few{16, 16};
    ::setrlimit(RLIMIT_NOFILE, &few);
    bool isOver = false;
    std::vector<Task<>> tasks;
    for (int i = 0; i < 100; ++i) tasks.push_back(noteWhen(isOver, "."));
    const auto end = [&]() -> Task<> {
      co_await events_.pause(milliseconds{1});
      isOver = true;
    };
    tasks.push_back(end());
    events_.run(std::move(tasks));
    return log_;
  });
  EXPECT_EQ(child.finish(), std::string(100, '.'));
}

TEST_F(EventsTest, AConditionThatAnotherTaskMakesTrueEndsTheWait) {
  bool isDone = false;
  const auto setter = [&]() -> Task<> {
    co_await events_.pause(milliseconds{1});
    log_ += "set ";
    isDone = true;
  };
  run(noteWhen(isDone, "seen"), setter());
  EXPECT_EQ(log_, "set seen");
}

TEST_F(EventsTest, TheFirstErrorEndsTheOthersAfterTheirCleanUp) {
  std::string cause;
  try {
    run(waitForEver("clean "), failWith("first"), noteAfter(milliseconds{5000}, "never"));
  } catch (const Error& error) {
    cause = error.cause();
  }
  EXPECT_EQ(cause, "first");
  EXPECT_EQ(log_, "clean ");
}

TEST_F(EventsTest, ATaskThatWouldWaitAfterTheErrorIsCancelledAtOnce) {
  const auto late = [&]() -> Task<> {
    try {
      co_await events_.until([] { return false; });
    } catch (const Cancelled&) {
      log_ += "once ";
    }
    co_await events_.pause(milliseconds{5000});
    log_ += "never";
  };
  EXPECT_THROW(run(late(), failWith("x")), Error);
  EXPECT_EQ(log_, "once ");
}

TEST_F(EventsTest, ASignalEndsEverythingWithItsExitCode) {
  std::optional<int> code;
  ::raise(SIGTERM);
  try {
    run(waitForEver("clean"));
  } catch (const Error& error) {
    code = error.exitCode();
  }
  EXPECT_EQ(code, 143);
  EXPECT_EQ(log_, "clean");
}

TEST_F(EventsTest, TheTimeRunsFromTheBeginOfTheFirstAttempt) {
  constexpr std::chrono::seconds kTimeout{60};
  std::optional<int> code;
  events_.setTimeout(kTimeout, Events::Clock::now() - kTimeout);
  try {
    run(waitForEver("clean"));
  } catch (const Error& error) {
    code = error.exitCode();
  }
  EXPECT_EQ(code, 124);
  EXPECT_EQ(log_, "clean");
}

TEST_F(EventsTest, ASecondSignalCutsTheCleanUpShort) {
  const auto stubborn = [&]() -> Task<> {
    bool isCancelled = false;
    try {
      co_await events_.until([] { return false; });
    } catch (const Cancelled&) {
      isCancelled = true;
    }
    ::raise(SIGINT);
    if (isCancelled) co_await events_.untilEnd(-1, milliseconds{60'000});
    log_ += "cut";
  };
  ::raise(SIGINT);
  EXPECT_THROW(run(stubborn()), Error);
  EXPECT_EQ(log_, "cut");
}

TEST_F(EventsTest, WorkInAChildComesBackAsItsResultOrItsError) {
  std::string result;
  std::string cause;
  const auto both = [&]() -> Task<> {
    result = co_await runWorker(events_, [] { return std::string{"done"}; });
    try {
      co_await runWorker(events_, []() -> std::string { throw Error{Kind::failed, "broken"}; });
    } catch (const Error& error) {
      cause = error.cause();
    }
  };
  run(both());
  EXPECT_EQ(result, "done");
  EXPECT_EQ(cause, "broken");
}

}  // namespace
}  // namespace img::builder
