#include "registry/channel.h"

#include <poll.h>
#include <sys/socket.h>

#include <cstring>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/sys.h"

namespace img::registry {
namespace {

constexpr size_t kMaxMessage = size_t{128} << 10;
constexpr size_t kMaxDescriptors = 4;  // taken, so that they can be closed; one is used

// The first descriptor of a message; the others are closed.
Fd takeDescriptor(msghdr& message) {
  Fd first;
  for (cmsghdr* part = CMSG_FIRSTHDR(&message); part != nullptr;
       part = CMSG_NXTHDR(&message, part)) {
    if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS) continue;
    const size_t count = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < count; ++i) {
      int raw = -1;
      std::memcpy(&raw, CMSG_DATA(part) + i * sizeof(int), sizeof raw);
      Fd owned{raw};
      if (!first) first = std::move(owned);
    }
  }
  return first;
}

}  // namespace

Channel::Channel(Loop& loop, int socket, Receiver receiver)
    : socket_(socket), receiver_(std::move(receiver)), incoming_(loop), outgoing_(loop) {
  sys::setNonBlocking(socket_, true);
  listen();
}

void Channel::listen() {
  incoming_.start(socket_, POLLIN, Loop::kNever, [this] { receive(); });
}

void Channel::receive() {
  while (receiveOne()) {
  }
  if (!isClosed_) listen();
}

bool Channel::receiveOne() {
  std::string text(kMaxMessage, '\0');
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * kMaxDescriptors)];
  iovec part{text.data(), text.size()};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  const ssize_t size = ::recvmsg(socket_, &message, MSG_CMSG_CLOEXEC);
  if (size < 0 && (errno == EAGAIN || errno == EINTR)) return errno == EINTR;
  isClosed_ = size <= 0;
  if (isClosed_) return false;
  Fd fd = takeDescriptor(message);
  if ((message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0) {
    throw Error::make(Kind::usage, "a request has more than {} bytes or {} descriptors",
                      kMaxMessage, kMaxDescriptors);
  }
  text.resize(static_cast<size_t>(size));
  receiver_(parseJson(text, "request"), std::move(fd));
  return true;
}

void Channel::send(const Json& message) {
  waiting_.push_back(dumpJson(message));
  if (waiting_.size() == 1) flush();
}

void Channel::flush() {
  while (!waiting_.empty() && !isClosed_) {
    const std::string& text = waiting_.front();
    if (::send(socket_, text.data(), text.size(), MSG_NOSIGNAL) >= 0) {
      waiting_.pop_front();
    } else if (errno == EAGAIN) {
      outgoing_.start(socket_, POLLOUT, Loop::kNever, [this] { flush(); });
      return;
    } else if (errno != EINTR) {
      isClosed_ = true;  // nobody is there any more
    }
  }
}

}  // namespace img::registry
