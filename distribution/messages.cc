#include "distribution/messages.h"

#include <sys/socket.h>

#include <cstring>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/sys.h"

namespace img::distribution {
namespace {

// One descriptor's worth of ancillary data (cmsg(3): the buffer is aligned like its header).
union Control {
  cmsghdr align;
  char raw[CMSG_SPACE(sizeof(int))];
};

Fd descriptorOf(msghdr& header) {
  const cmsghdr* head = CMSG_FIRSTHDR(&header);
  if (head == nullptr || head->cmsg_level != SOL_SOCKET || head->cmsg_type != SCM_RIGHTS) return {};
  int fd = -1;
  std::memcpy(&fd, CMSG_DATA(head), sizeof fd);
  return Fd{fd};
}

}  // namespace

bool sendMessage(int socket, const Json& message, int fd) {
  std::string text = dumpJson(message);
  if (text.size() > kMaxMessage) {
    throw Error::make(Kind::internal, "a message of {} bytes is too long", text.size());
  }
  iovec body{text.data(), text.size()};
  Control control{};
  msghdr header{};
  header.msg_iov = &body;
  header.msg_iovlen = 1;
  if (fd >= 0) {
    header.msg_control = control.raw;
    header.msg_controllen = sizeof control.raw;
    cmsghdr* head = CMSG_FIRSTHDR(&header);
    head->cmsg_level = SOL_SOCKET;
    head->cmsg_type = SCM_RIGHTS;
    head->cmsg_len = CMSG_LEN(sizeof fd);
    std::memcpy(CMSG_DATA(head), &fd, sizeof fd);
  }
  bool isGone = false;
  sys::check(
      [&] {
        const ssize_t sent = ::sendmsg(socket, &header, MSG_NOSIGNAL);
        isGone = sent < 0 && (errno == EPIPE || errno == ECONNRESET);
        return isGone ? 0 : sent;
      },
      "send a message");
  return !isGone;
}

Message receiveMessage(int socket, Receive how, std::string_view origin) {
  Message message;
  message.text.resize(kMaxMessage);
  iovec body{message.text.data(), message.text.size()};
  Control control{};
  msghdr header{};
  header.msg_iov = &body;
  header.msg_iovlen = 1;
  header.msg_control = control.raw;
  header.msg_controllen = sizeof control.raw;
  const int flags = MSG_CMSG_CLOEXEC | (how == Receive::ifThere ? MSG_DONTWAIT : 0);
  const ssize_t count = sys::check(
      [&]() -> ssize_t {
        header.msg_controllen = sizeof control.raw;
        const ssize_t got = ::recvmsg(socket, &header, flags);
        if (got < 0 && errno == EAGAIN) return static_cast<ssize_t>(kMaxMessage) + 1;
        return got < 0 && errno == ECONNRESET ? 0 : got;
      },
      "receive a message of {}", origin);
  if (count > static_cast<ssize_t>(kMaxMessage)) return {};
  message.fd = descriptorOf(header);
  if ((header.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0) {
    throw Error::make(Kind::internal, "a message of {} is too long", origin);
  }
  message.text.resize(static_cast<size_t>(count));
  message.state = count == 0 ? Message::State::ended : Message::State::arrived;
  return message;
}

}  // namespace img::distribution
