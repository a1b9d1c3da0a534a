// SIGINT, SIGTERM and SIGHUP for commands that work for long without waiting for events: within the
// life of an InterruptionScope they are blocked, and whoever reads, writes or waits asks here and
// gets an Error (code "interrupted", exit code 128+n), so that the way out undoes everything.
// Without a scope, and in forked children, nothing is asked and signals do what they do.
#pragma once

#include <csignal>

#include "base/fd.h"

namespace img {

class [[nodiscard]] InterruptionScope {
 public:
  InterruptionScope();
  InterruptionScope(const InterruptionScope&) = delete;
  InterruptionScope& operator=(const InterruptionScope&) = delete;
  ~InterruptionScope();

 private:
  sigset_t oldMask_{};
  Fd signals_;
  int outer_;
};

// Readable when a signal has come; -1: nobody asks.
int interruptionFd();
// Throws when one has come, for everybody who asks until the outermost scope ends. One system call.
void throwIfInterrupted();
// The same, after waiting until `fd` is ready for `events` (poll(2)).
void waitOrThrow(int fd, short events);

}  // namespace img
