// A network namespace of a container's own, made beside other work. The kernel needs longer for it
// than for all other namespaces together (about a millisecond), and on the calling thread nothing
// else would go on meanwhile.
#pragma once

#include <pthread.h>

#include "base/fd.h"

namespace img::runtime {

class EarlyNetwork {
 public:
  // Starts at once if `isWanted`. It belongs to the user namespace of the caller.
  explicit EarlyNetwork(bool isWanted);
  EarlyNetwork(const EarlyNetwork&) = delete;
  EarlyNetwork& operator=(const EarlyNetwork&) = delete;
  EarlyNetwork(EarlyNetwork&&) = delete;
  EarlyNetwork& operator=(EarlyNetwork&&) = delete;
  ~EarlyNetwork();

  // Waits for it: the namespace, with its loopback interface up. Empty when it was not wanted or
  // could not be made: the clone of the container then makes it, or says why it cannot. No second
  // thread is left after this, so that the caller may fork.
  [[nodiscard]] Fd take();

 private:
  static void* make(void* self) noexcept;
  void join();

  Fd result_;
  pthread_t thread_{};
  bool isRunning_ = false;
};

// In the network namespace of the calling thread. False: errno says why.
[[nodiscard]] bool bringLoopbackUp() noexcept;

}  // namespace img::runtime
