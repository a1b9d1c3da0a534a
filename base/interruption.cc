#include "base/interruption.h"

#include <poll.h>
#include <pthread.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <utility>

#include "base/error.h"
#include "base/sys.h"

namespace img {
namespace {

constexpr int kSignals[] = {SIGINT, SIGTERM, SIGHUP};

// Of the scope that is in force, and the process that it belongs to.
int watched = -1;
pid_t owner = 0;

}  // namespace

InterruptionScope::InterruptionScope() : outer_(watched) {
  sigset_t mask;
  sigemptyset(&mask);
  for (const int signal : kSignals) sigaddset(&mask, signal);
  ::pthread_sigmask(SIG_BLOCK, &mask, &oldMask_);
  signals_ = Fd{sys::check([&] { return ::signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK); },
                           "watch signals")};
  watched = signals_.get();
  owner = ::getpid();
}

InterruptionScope::~InterruptionScope() {
  watched = outer_;
  // What comes after the last question does not undo what is done; an outer scope may still ask.
  signalfd_siginfo info{};
  while (outer_ < 0 && ::read(signals_.get(), &info, sizeof info) == sizeof info) {
  }
  ::pthread_sigmask(SIG_SETMASK, &oldMask_, nullptr);
}

int interruptionFd() {
  return watched >= 0 && owner == ::getpid() ? watched : -1;
}

// The signal stays pending: a thread that reads ahead has to hear of it as well as the one that
// waits for that thread.
void throwIfInterrupted() {
  if (interruptionFd() < 0) return;
  sigset_t pending;
  sigpending(&pending);
  for (const int signal : kSignals) {
    if (sigismember(&pending, signal) != 1) continue;
    throw Error{Kind::failed, "interrupted"}.code("interrupted").exitCode(128 + signal);
  }
}

void waitOrThrow(int fd, short events) {
  const int signals = interruptionFd();
  if (signals < 0) return;
  pollfd polls[] = {{fd, events, 0}, {signals, POLLIN, 0}};
  sys::check([&] { return ::poll(polls, 2, -1); }, "wait for data");
  if (polls[1].revents != 0) throwIfInterrupted();
}

}  // namespace img
