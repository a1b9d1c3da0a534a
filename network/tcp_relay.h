// Published TCP ports: every connection that is accepted outside gets one inside, and what is read
// on one is written on the other. Nothing is read that cannot be written on, so a slow reader slows
// its sender and costs no memory; the end of one direction (shutdown(2)) is passed on alone; a
// reset is passed on as a reset. Nobody listening inside: the client gets a reset.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "network/event_loop.h"
#include "network/ports.h"

namespace img::network {

// Where to connect for a port of the container, best first. Asked for every connection.
using Targets = std::function<std::vector<SocketAddress>(std::uint16_t containerPort)>;

struct TcpLimits {
  // Two descriptors each. Beyond it new ones wait in the kernel's queue until one of the others
  // ends.
  size_t maxConnections = 0;
  size_t maxPipes = 0;  // two descriptors each
};

class TcpRelay {
 public:
  TcpRelay(EventLoop& loop, Targets targets, const TcpLimits& limits);
  TcpRelay(const TcpRelay&) = delete;
  TcpRelay& operator=(const TcpRelay&) = delete;
  ~TcpRelay();

  void listen(Fd socket, std::uint16_t containerPort);
  // Between two batches: lets go of what has ended and accepts again where that was held back.
  // Returns the longest time to wait for the next batch; -1: any.
  int tidy();
  [[nodiscard]] size_t connections() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace img::network
