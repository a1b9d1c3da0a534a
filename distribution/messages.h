// JSON messages over a SOCK_SEQPACKET socket, one each, with at most one descriptor (unix(7),
// SCM_RIGHTS): between us and img-remote, and between a pull and its workers.
#pragma once

#include <string>

#include "base/fd.h"
#include "base/json.h"

namespace img::distribution {

constexpr size_t kMaxMessage = size_t{128} << 10;

// False: the other side is gone. `fd` -1: none; otherwise it stays the caller's.
bool sendMessage(int socket, const Json& message, int fd = -1);

struct Message {
  enum class State { none, arrived, ended } state = State::none;  // none: would block
  std::string text;
  Fd fd;
};
enum class Receive { waiting, ifThere };
// `origin` names the other side in errors.
Message receiveMessage(int socket, Receive how, std::string_view origin);

}  // namespace img::distribution
