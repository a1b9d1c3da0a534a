// The builder's one place to wait (architecture.md 1.3): tasks say what they wait for, run() polls
// for all of them, reaps sealing children, notices signals, and lets go on what is ready. SIGINT,
// SIGTERM and SIGHUP are blocked for the life of this object.
//
// The first task that fails, a sealing child that fails, or a signal ends all other tasks: whatever
// they wait for throws Cancelled, and they may still clean up (untilEnd()). run() returns when
// every task has ended, and throws the first error; a signal is an Error with exit code 128+n.
#pragma once

#include <chrono>
#include <coroutine>
#include <csignal>
#include <exception>
#include <functional>
#include <optional>
#include <vector>

#include "base/fd.h"
#include "builder/progress.h"
#include "builder/sealer.h"
#include "builder/task.h"

namespace img::builder {

// Thrown into tasks that wait while the build ends because of something else.
struct Cancelled {};

class Events {
 public:
  using Clock = std::chrono::steady_clock;

  // What a task waits for; the first of them that comes true ends the wait.
  struct Reason {
    int first = -1, second = -1;  // readable or closed
    std::optional<Clock::time_point> deadline;
    std::function<bool()> condition;
    bool isCleanUp = false;  // goes on while the build is ending
  };
  // What `co_await` takes. It lives in the frame of the task that waits.
  class [[nodiscard]] Wait {
   public:
    Wait(Events& events, Reason reason) : events_(events), reason_(std::move(reason)) {}
    Wait(const Wait&) = delete;
    Wait& operator=(const Wait&) = delete;
    ~Wait();
    [[nodiscard]] bool await_ready() const;
    void await_suspend(std::coroutine_handle<> task);
    // Bit 0: the first descriptor is ready, bit 1: the second. Who only waits drops it.
    unsigned await_resume();

   private:
    friend class Events;
    Events& events_;
    Reason reason_;
    std::coroutine_handle<> task_;
    unsigned ready_ = 0;
  };
  static constexpr unsigned kFirst = 1, kSecond = 2;

  Events(Sealer& sealer, Progress& progress);
  Events(const Events&) = delete;
  Events& operator=(const Events&) = delete;
  ~Events();

  // To be awaited. The result tells which is ready, kFirst | kSecond.
  Wait readable(int fd, int second = -1);
  Wait pause(std::chrono::milliseconds duration);
  // `condition` depends on what other tasks or the sealer do.
  Wait until(std::function<bool()> condition);
  // While ending: until `fd` is readable, the time is over or a second signal has come. Never
  // throws Cancelled.
  Wait untilEnd(int fd, std::chrono::milliseconds timeout);

  // `timeout` after `begin` everything ends, with exit code 124 (cli.md 3).
  void setTimeout(std::chrono::seconds timeout, Clock::time_point begin);
  // Drives the tasks to their ends.
  void run(std::vector<Task<>> tasks);
  // After run() has failed: lets the layers of finished steps be sealed, so that the next build
  // finds them. A signal ends it.
  void settle();
  // Runs every time before everything waits, as work that nobody waits for yet; it never throws.
  void whenIdle(std::function<void()> work) { idleWork_ = std::move(work); }
  // For long work in this process: throws if a signal has come.
  void throwIfInterrupted();

 private:
  void poll();
  [[nodiscard]] bool startSeals();
  [[nodiscard]] int pollTimeout() const;
  [[nodiscard]] bool isDue(const Wait& wait) const;
  void resumeDue();
  void fail(const std::exception_ptr& error);
  void drive(const std::vector<Task<>>& tasks);
  [[nodiscard]] std::optional<Error> takeSignal();

  Sealer& sealer_;
  Progress& progress_;
  std::function<void()> idleWork_;
  sigset_t oldMask_{};
  Fd signals_;
  std::vector<Wait*> waits_;  // oldest first
  std::exception_ptr error_;  // the first one: everything is ending
  int signalCount_ = 0;
  std::optional<Clock::time_point> deadline_;
  std::chrono::seconds timeout_{};
};

}  // namespace img::builder
