// The builder's one place to wait: until a descriptor is ready, while sealing children are reaped
// and signals noticed (architecture.md 1.3). SIGINT, SIGTERM and SIGHUP are blocked for the life of
// this object and arrive as an Error with exit code 128+n; the handles of what was running then end
// it on the way out.
#pragma once

#include <csignal>
#include <vector>

#include "base/fd.h"
#include "builder/sealer.h"

namespace img::builder {

class Events {
 public:
  explicit Events(Sealer& sealer);
  Events(const Events&) = delete;
  Events& operator=(const Events&) = delete;
  ~Events();

  // Waits until at least one of `fds` is readable or closed; negative ones are ignored. True per
  // ready one.
  std::vector<bool> wait(const std::vector<int>& fds);
  // While ending: until `fd` is readable, `timeoutMs` is over, or another signal has come. Never
  // throws a signal.
  void waitForEnd(int fd, int timeoutMs) const;
  // Waits until every layer is sealed.
  void waitForSealer();
  // For long work in this process: throws if a signal has come.
  void throwIfInterrupted();

 private:
  Sealer& sealer_;
  sigset_t oldMask_{};
  Fd signals_;
  bool isInterrupted_ = false;
};

}  // namespace img::builder
