// The process that serves the published ports of one container: it stands in the container's
// network namespace, holds the listening sockets that were bound outside it, and relays what
// arrives to the container's own address (tcp_relay.h, udp_relay.h). So the ports work the same on
// a bridge and behind pasta or slirp4netns, and the host's own rules for incoming traffic apply.
//
// It has no rights (nobody, no capabilities, no_new_privs), nothing of its keeper's open, and ends
// with it: by PR_SET_PDEATHSIG, and by a pipe whose other end only the keeper holds.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "base/fd.h"
#include "base/process.h"
#include "network/ports.h"

namespace img::network {

class [[nodiscard]] PortRelay {
 public:
  PortRelay() = default;

  struct Place {
    int netns = -1;       // the network to join
    pid_t container = 0;  // a process in the user namespace that the network belongs to
    std::string address;  // where the container listens; empty: at the first address that is found
                          // there, or on loopback
  };
  // Returns when it serves; the ports are its own from then on. The calling process is
  // single-threaded.
  static PortRelay start(std::vector<BoundPort> ports, const Place& place);

  [[nodiscard]] pid_t pid() const { return child_.pid(); }
  explicit operator bool() const { return static_cast<bool>(child_); }

 private:
  Child child_;  // killed and reaped when this goes
  Fd life_;
};

}  // namespace img::network
