#include "builder/events.h"

#include <poll.h>
#include <pthread.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/sys.h"

namespace img::builder {

Events::Events(Sealer& sealer) : sealer_(sealer) {
  sigset_t mask;
  sigemptyset(&mask);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) sigaddset(&mask, signal);
  ::pthread_sigmask(SIG_BLOCK, &mask, &oldMask_);
  signals_ = Fd{sys::check([&] { return ::signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK); },
                           "watch signals")};
}

Events::~Events() {
  // A second Ctrl-C during the clean-up must not kill us before the error is told.
  signalfd_siginfo info{};
  while (isInterrupted_ && ::read(signals_.get(), &info, sizeof info) == sizeof info) {
  }
  ::pthread_sigmask(SIG_SETMASK, &oldMask_, nullptr);
}

void Events::throwIfInterrupted() {
  signalfd_siginfo info{};
  if (::read(signals_.get(), &info, sizeof info) != sizeof info) return;
  isInterrupted_ = true;
  Error error{Kind::failed, "interrupted"};
  error.exitCode(128 + static_cast<int>(info.ssi_signo));
  throw error;
}

std::vector<bool> Events::wait(const std::vector<int>& fds) {
  for (;;) {
    std::vector<pollfd> polls{{signals_.get(), POLLIN, 0}};
    for (const int fd : fds) polls.push_back({fd, POLLIN, 0});
    for (const int fd : sealer_.fds()) polls.push_back({fd, POLLIN, 0});
    sys::check([&] { return ::poll(polls.data(), polls.size(), -1); }, "wait for events");
    if (polls[0].revents != 0) throwIfInterrupted();
    sealer_.reap();
    std::vector<bool> ready(fds.size());
    bool isAny = false;
    for (size_t i = 0; i < fds.size(); ++i) {
      ready[i] = fds[i] >= 0 && polls[i + 1].revents != 0;
      isAny = isAny || ready[i];
    }
    if (isAny || (fds.empty() && sealer_.isIdle())) return ready;
  }
}

void Events::waitForEnd(int fd, int timeoutMs) const {
  pollfd polls[2] = {{signals_.get(), POLLIN, 0}, {fd, POLLIN, 0}};
  ::poll(polls, 2, timeoutMs);
}

void Events::waitForSealer() {
  if (!sealer_.isIdle()) wait({});
}

}  // namespace img::builder
