#include "cli/run_deadline.h"

#include <sys/timerfd.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdint>

#include "base/sys.h"

namespace img::cli {

RunDeadline::RunDeadline(const runtime::Container& container, std::chrono::nanoseconds timeout,
                         int signal, std::chrono::seconds grace)
    : container_(container),
      signal_(signal),
      grace_(grace),
      timer_(
          sys::check([] { return ::timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK); },
                     "timerfd_create")) {
  set(timeout);
}

void RunDeadline::set(std::chrono::nanoseconds delay) const {
  using std::chrono::duration_cast;
  using std::chrono::seconds;
  // Zero would disarm the timer (timerfd_settime(2)).
  delay = std::max(delay, std::chrono::nanoseconds{1});
  itimerspec when{};
  when.it_value.tv_sec = duration_cast<seconds>(delay).count();
  when.it_value.tv_nsec = (delay - duration_cast<seconds>(delay)).count();
  sys::check([&] { return ::timerfd_settime(timer_.get(), 0, &when, nullptr); }, "set a timer");
}

void RunDeadline::handle() {
  std::uint64_t expirations = 0;
  if (::read(timer_.get(), &expirations, sizeof expirations) != sizeof expirations) return;
  container_.kill(hasStruck_ ? SIGKILL : signal_);
  if (!hasStruck_) set(grace_);
  hasStruck_ = true;
}

}  // namespace img::cli
