// Follows a running container to its end: copies its output to a log and to our own streams,
// forwards signals, keeps the window size. The same loop serves a foreground `run` and the process
// that keeps a detached container; what is written about the container's state, and when, is its
// caller's business (cli/keeper.h), because that needs the store.
#pragma once

#include <csignal>
#include <functional>
#include <string>
#include <vector>

#include "base/fd.h"
#include "base/process.h"
#include "runtime/detach_keys.h"
#include "runtime/launch.h"
#include "runtime/log_file.h"

namespace img::runtime {

// From construction on the signals that belong to the container wait in a descriptor instead of
// ending us. To be made before the container starts, so that none is lost; start() gives the
// container an empty mask again.
class [[nodiscard]] SignalCatcher {
 public:
  SignalCatcher();
  SignalCatcher(const SignalCatcher&) = delete;
  SignalCatcher& operator=(const SignalCatcher&) = delete;
  ~SignalCatcher();  // restores the mask
  [[nodiscard]] int fd() const { return fd_.get(); }
  [[nodiscard]] int take() const;  // the next signal, 0 when there is none

 private:
  Fd fd_;
  sigset_t before_;
};

// Something else that the loop waits for: a descriptor, and what to do when it is readable.
struct Watch {
  int fd = -1;
  std::function<void()> onReadable;
};

class AttachServer;

struct Relay {
  Fd out, err;  // our ends of the container's pipes; empty: it writes where it should by itself
  Fd terminal;  // the pty master, instead of both
  int copyOut = -1, copyErr = -1;  // our own streams, -1: only the log
  int input = -1;                  // copied to the terminal, -1: nothing
  LogWriter* log = nullptr;
  bool forwardSignals = true;
  bool isBackground = false;                 // gives its memory back when nothing happens
  std::function<void(int signal)> onSignal;  // before it is passed on
  std::vector<Watch> watches;
  // Others who are attached; what they type goes to the terminal, or to `attachInput`.
  AttachServer* attach = nullptr;
  int attachInput = -1;
  // Typed into `input`: from then on nothing of ours is read or written any more, and the container
  // goes on. `onDetach` is told.
  DetachKeys keys;
  std::function<void()> onDetach;
};

// Returns when the container has ended and all its output has been copied.
ExitStatus follow(Container& container, const SignalCatcher& signals, Relay relay);

// The window size of terminal `from` for the pty `to`; nothing when `from` is no terminal.
void copyWindowSize(int from, int to);

}  // namespace img::runtime
