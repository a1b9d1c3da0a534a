// Published UDP ports: a socket inside for every client, so that answers find their way back. A
// client that has said and got nothing for a while is forgotten; so is the one silent for longest
// when there are too many, which keeps forged senders from using up our descriptors.
#pragma once

#include <memory>

#include "network/event_loop.h"
#include "network/ports.h"
#include "network/tcp_relay.h"

namespace img::network {

struct UdpLimits {
  size_t maxClients = 1024;
  int idleMs = 90'000;  // docker's
};

class UdpRelay {
 public:
  UdpRelay(EventLoop& loop, Targets targets, const UdpLimits& limits);
  UdpRelay(const UdpRelay&) = delete;
  UdpRelay& operator=(const UdpRelay&) = delete;
  ~UdpRelay();

  void listen(Fd socket, std::uint16_t containerPort);
  // Between two batches: forgets the silent. Returns the longest time to wait for the next batch;
  // -1: any.
  int tidy();
  [[nodiscard]] size_t clients() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace img::network
