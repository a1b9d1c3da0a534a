// --timeout of run and create: the container gets its stop signal when the time is over and is
// killed when that does not help; the exit status is then 124, as timeout(1) has it.
#pragma once

#include <chrono>

#include "base/fd.h"
#include "runtime/launch.h"

namespace img::cli {

inline constexpr int kTimeoutStatus = 124;

class RunDeadline {
 public:
  // Counts from now. `container` outlives it.
  RunDeadline(const runtime::Container& container, std::chrono::nanoseconds timeout, int signal,
              std::chrono::seconds grace);
  // Readable when there is something to do (runtime/monitor.h, Watch).
  [[nodiscard]] int fd() const { return timer_.get(); }
  void handle();
  [[nodiscard]] bool hasStruck() const { return hasStruck_; }

 private:
  void set(std::chrono::nanoseconds delay) const;

  const runtime::Container& container_;
  int signal_;
  std::chrono::seconds grace_;
  bool hasStruck_ = false;
  Fd timer_;
};

}  // namespace img::cli
