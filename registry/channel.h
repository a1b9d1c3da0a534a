// The caller's end of a session: a SOCK_SEQPACKET socket, one JSON object per message, at most one
// descriptor with it (unix(7), SCM_RIGHTS). Never blocks: what the caller does not read yet waits.
#pragma once

#include <deque>
#include <functional>
#include <string>

#include "base/fd.h"
#include "base/json.h"
#include "registry/loop.h"

namespace img::registry {

class Channel {
 public:
  using Receiver = std::function<void(Json message, Fd fd)>;
  // `socket` is not owned. Messages go to `receiver`, which may send.
  Channel(Loop& loop, int socket, Receiver receiver);

  void send(const Json& message);
  [[nodiscard]] bool isClosed() const { return isClosed_; }

 private:
  void listen();
  void receive();
  bool receiveOne();
  void flush();

  int socket_;
  Receiver receiver_;
  Loop::Watch incoming_, outgoing_;
  std::deque<std::string> waiting_;
  bool isClosed_ = false;
};

}  // namespace img::registry
