#include "builder/events.h"

#include <poll.h>
#include <pthread.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <algorithm>

#include "base/sys.h"

namespace img::builder {

Events::Events(Sealer& sealer, Progress& progress) : sealer_(sealer), progress_(progress) {
  sigset_t mask;
  sigemptyset(&mask);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) sigaddset(&mask, signal);
  ::pthread_sigmask(SIG_BLOCK, &mask, &oldMask_);
  signals_ = Fd{sys::check([&] { return ::signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK); },
                           "watch signals")};
}

Events::~Events() {
  // A second Ctrl-C during the clean-up must not kill us before the error is told.
  while (signalCount_ > 0 && takeSignal()) {
  }
  ::pthread_sigmask(SIG_SETMASK, &oldMask_, nullptr);
}

std::optional<Error> Events::takeSignal() {
  signalfd_siginfo info{};
  if (::read(signals_.get(), &info, sizeof info) != sizeof info) return std::nullopt;
  ++signalCount_;
  Error error{Kind::failed, "interrupted"};
  error.code("interrupted");
  error.exitCode(128 + static_cast<int>(info.ssi_signo));
  return error;
}

void Events::throwIfInterrupted() {
  if (const auto error = takeSignal()) throw *error;
}

Events::Wait::~Wait() {
  std::erase(events_.waits_, this);
}

bool Events::Wait::await_ready() const {
  if (reason_.isCleanUp) return false;
  return events_.error_ || (reason_.condition && reason_.condition());
}

void Events::Wait::await_suspend(std::coroutine_handle<> task) {
  task_ = task;
  events_.waits_.push_back(this);
}

unsigned Events::Wait::await_resume() {
  if (events_.error_ && !reason_.isCleanUp) throw Cancelled{};
  return ready_;
}

Events::Wait Events::readable(int fd, int second) {
  return Wait{*this, {fd, second, {}, {}, false}};
}

Events::Wait Events::pause(std::chrono::milliseconds duration) {
  return Wait{*this, {-1, -1, Clock::now() + duration, {}, false}};
}

Events::Wait Events::until(std::function<bool()> condition) {
  return Wait{*this, {-1, -1, {}, std::move(condition), false}};
}

Events::Wait Events::untilEnd(int fd, std::chrono::milliseconds timeout) {
  return Wait{*this, {fd, -1, Clock::now() + timeout, {}, true}};
}

void Events::setTimeout(std::chrono::seconds timeout, Clock::time_point begin) {
  timeout_ = timeout;
  deadline_ = begin + timeout;
}

void Events::fail(const std::exception_ptr& error) {
  if (!error_) error_ = error;
}

void Events::run(std::vector<Task<>> tasks) {
  for (const Task<>& task : tasks) {
    task.start();
    drive(tasks);
  }
  while (!std::all_of(tasks.begin(), tasks.end(), [](const auto& task) { return task.isDone(); })) {
    poll();
    drive(tasks);
  }
  if (error_) std::rethrow_exception(error_);
}

void Events::settle() {
  while (!sealer_.isIdle() && signalCount_ == 0) poll();
}

// Lets go on whatever can, and takes the errors of tasks that have ended.
void Events::drive(const std::vector<Task<>>& tasks) {
  resumeDue();
  for (const Task<>& task : tasks) {
    if (error_ || !task.isDone()) continue;
    try {
      task.take();
    } catch (...) {
      fail(std::current_exception());
      resumeDue();
    }
  }
}

bool Events::isDue(const Wait& wait) const {
  const Reason& reason = wait.reason_;
  if (reason.isCleanUp && signalCount_ > 1) return true;
  if (error_ && !reason.isCleanUp) return true;
  if (wait.ready_ != 0 || (reason.condition && reason.condition())) return true;
  return reason.deadline && Clock::now() >= *reason.deadline;
}

// One at a time, oldest first: a task that goes on may change what others wait for.
void Events::resumeDue() {
  for (;;) {
    const auto due =
        std::find_if(waits_.begin(), waits_.end(), [&](const Wait* wait) { return isDue(*wait); });
    if (due == waits_.end()) return;
    const std::coroutine_handle<> task = (*due)->task_;
    waits_.erase(due);
    task.resume();
  }
}

int Events::pollTimeout() const {
  int timeout = progress_.tickMs();
  const Clock::time_point now = Clock::now();
  const auto wakeAt = [&](const std::optional<Clock::time_point>& time) {
    if (!time) return;
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(*time - now);
    const int ms = static_cast<int>(std::clamp<std::int64_t>(left.count(), 0, 1'000'000'000));
    timeout = timeout < 0 ? ms : std::min(timeout, ms);
  };
  for (const Wait* wait : waits_) wakeAt(wait->reason_.deadline);
  if (!error_) wakeAt(deadline_);
  return timeout;
}

// False: it failed, and whoever waits is due.
bool Events::startSeals() {
  try {
    sealer_.startNext();
    return true;
  } catch (...) {
    fail(std::current_exception());
    return false;
  }
}

void Events::poll() {
  if (!startSeals()) return;
  if (idleWork_ && !error_) idleWork_();
  // Only what is open: poll(2) refuses more entries than RLIMIT_NOFILE.
  std::vector<pollfd> polls{{signals_.get(), POLLIN, 0}};
  std::vector<std::pair<Wait*, unsigned>> owners;  // of the entries from 1 on
  const auto watch = [&](Wait* wait, int fd, unsigned bit) {
    if (fd < 0) return;
    polls.push_back({fd, POLLIN, 0});
    owners.emplace_back(wait, bit);
  };
  for (Wait* wait : waits_) {
    watch(wait, wait->reason_.first, kFirst);
    watch(wait, wait->reason_.second, kSecond);
  }
  for (const int fd : sealer_.fds()) polls.push_back({fd, POLLIN, 0});
  sys::check([&] { return ::poll(polls.data(), polls.size(), pollTimeout()); }, "wait for events");
  for (size_t i = 0; i < owners.size(); ++i) {
    if (polls[i + 1].revents != 0) owners[i].first->ready_ |= owners[i].second;
  }
  if (polls[0].revents != 0) {
    if (const auto error = takeSignal()) fail(std::make_exception_ptr(*error));
  }
  if (deadline_ && !error_ && Clock::now() >= *deadline_) {
    Error error =
        Error::make(Kind::failed, "the build took longer than --timeout {}s", timeout_.count());
    fail(std::make_exception_ptr(error.exitCode(124)));
  }
  try {
    sealer_.reap();
  } catch (...) {
    fail(std::current_exception());
  }
  progress_.tick();
}

}  // namespace img::builder
