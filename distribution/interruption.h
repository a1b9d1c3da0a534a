// SIGINT, SIGTERM and SIGHUP as something to poll for while a transfer is under way: they are
// blocked for the life of this object.
#pragma once

#include <csignal>

#include "base/fd.h"

namespace img::distribution {

class [[nodiscard]] Interruption {
 public:
  Interruption();
  Interruption(const Interruption&) = delete;
  Interruption& operator=(const Interruption&) = delete;
  ~Interruption();

  [[nodiscard]] int fd() const { return signals_.get(); }
  // Throws "interrupted" with exit code 128+n when one has come.
  void throwIfSignalled() const;

 private:
  sigset_t oldMask_{};
  Fd signals_;
};

}  // namespace img::distribution
