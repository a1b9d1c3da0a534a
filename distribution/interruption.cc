#include "distribution/interruption.h"

#include <pthread.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/error.h"
#include "base/sys.h"

namespace img::distribution {

Interruption::Interruption() {
  sigset_t mask;
  sigemptyset(&mask);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) sigaddset(&mask, signal);
  ::pthread_sigmask(SIG_BLOCK, &mask, &oldMask_);
  signals_ = Fd{sys::check([&] { return ::signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK); },
                           "watch signals")};
}

Interruption::~Interruption() {
  ::pthread_sigmask(SIG_SETMASK, &oldMask_, nullptr);
}

void Interruption::throwIfSignalled() const {
  signalfd_siginfo info{};
  if (::read(signals_.get(), &info, sizeof info) != sizeof info) return;
  throw Error{Kind::failed, "interrupted"}
      .code("interrupted")
      .exitCode(128 + static_cast<int>(info.ssi_signo));
}

}  // namespace img::distribution
