#include "runtime/attach.h"

#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <termios.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/error.h"
#include "base/sys.h"
#include "runtime/terminal.h"

namespace img::runtime {
namespace {

constexpr size_t kHeader = 5;
constexpr size_t kHighWater = size_t{256} << 10;  // waiting for one client
constexpr size_t kMaxClients = 16;
constexpr std::int64_t kStallMs = 10'000;

const sockaddr* generic(const sockaddr_un& address) {
  return reinterpret_cast<const sockaddr*>(&address);
}

bool isFriend(int socket) {
  ucred peer{};
  socklen_t size = sizeof peer;
  if (::getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) return false;
  return peer.uid == 0 || peer.uid == ::geteuid();
}

bool isTransient() {
  return errno == EAGAIN || errno == EINTR;
}

}  // namespace

sockaddr_un attachAddress(int folder) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::string path = sys::procPath(folder) + "/" + kAttachSocket;
  std::memcpy(address.sun_path, path.c_str(), std::min(path.size(), sizeof address.sun_path - 1));
  return address;
}

bool FrameReader::next(Frame& frame) {
  if (buffer_.size() < kHeader) return false;
  std::uint32_t length = 0;
  for (size_t i = kHeader - 1; i > 0; --i) {
    length = length << 8 | static_cast<unsigned char>(buffer_[i]);
  }
  if (length > kMaxContent) throw Error{Kind::corrupt, "a frame of the attach socket is too long"};
  if (buffer_.size() < kHeader + length) return false;
  frame.kind = buffer_.front();
  frame.content = buffer_.substr(kHeader, length);
  buffer_.erase(0, kHeader + length);
  return true;
}

std::string frameOf(char kind, std::string_view content) {
  std::string frame(1, kind);
  for (int shift = 0; shift < 32; shift += 8) {
    frame += static_cast<char>(content.size() >> shift & 0xff);
  }
  return frame.append(content);
}

AttachServer::AttachServer(const Fd& folder) : folder_(folder.duplicate()) {
  constexpr int kType = SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK;
  listener_ = Fd{sys::check([] { return ::socket(AF_UNIX, kType, 0); }, "socket")};
  sys::tryUnlinkat(folder_.get(), kAttachSocket, 0);
  // bind(2) gives the file the mode of the socket, so it is closed from the first moment.
  sys::fchmod(listener_.get(), 0600);
  const sockaddr_un address = attachAddress(folder_.get());
  sys::check([&] { return ::bind(listener_.get(), generic(address), sizeof address); },
             "bind the attach socket");
  sys::check([&] { return ::listen(listener_.get(), 4); }, "listen for attach");
}

AttachServer::~AttachServer() {
  ::unlinkat(folder_.get(), kAttachSocket, 0);
}

void AttachServer::setInput(int input, int terminal) {
  input_ = input;
  terminal_ = terminal;
  if (input_ >= 0) sys::setNonBlocking(input_, true);
}

// The listener, the input while something waits for it, and the clients, in this order.
void AttachServer::addTo(std::vector<pollfd>& polls) const {
  polls.push_back({listener_.get(), POLLIN, 0});
  polls.push_back({typed_.empty() ? -1 : input_, POLLOUT, 0});
  for (const Client& client : clients_) {
    short events = typed_.empty() ? POLLIN : 0;
    if (!client.waiting.empty()) events = static_cast<short>(events | POLLOUT);
    polls.push_back({client.socket.get(), events, 0});
  }
}

void AttachServer::handle(std::span<const pollfd> polls) {
  if (polls[1].revents != 0) typeOn();
  for (size_t i = 0; i + 2 < polls.size(); ++i) {
    Client& client = clients_[i];
    if ((polls[i + 2].revents & POLLOUT) != 0) flush(client);
    if ((polls[i + 2].revents & (POLLIN | POLLHUP | POLLERR)) != 0) receive(client);
  }
  dropGone();
  if (polls[0].revents != 0) accept();
}

void AttachServer::accept() {
  Fd socket{::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK)};
  if (!socket || clients_.size() >= kMaxClients || !isFriend(socket.get())) return;
  Client client;
  client.socket = std::move(socket);
  clients_.push_back(std::move(client));
}

void AttachServer::receive(Client& client) {
  char chunk[4096];
  const ssize_t count = ::read(client.socket.get(), chunk, sizeof chunk);
  if (count < 0 && isTransient()) return;
  if (count <= 0) {
    client.isGone = true;
    return;
  }
  try {
    client.reader.feed({chunk, static_cast<size_t>(count)});
    FrameReader::Frame frame;
    while (client.reader.next(frame)) take(frame);
  } catch (const Error&) {
    client.isGone = true;  // whatever that is, it is none of ours
  }
}

void AttachServer::take(const FrameReader::Frame& frame) {
  if (frame.kind == kFrameInput && input_ >= 0) {
    typed_ += frame.content;
    typeOn();
  }
  if (frame.kind == kFrameWindow && frame.content.size() == 4 && terminal_ >= 0) {
    const auto number = [&](size_t at) {
      return static_cast<unsigned short>(static_cast<unsigned char>(frame.content[at]) |
                                         static_cast<unsigned char>(frame.content[at + 1]) << 8);
    };
    winsize size{};
    size.ws_row = number(0);
    size.ws_col = number(2);
    ::ioctl(terminal_, TIOCSWINSZ, &size);
  }
}

void AttachServer::typeOn() {
  const ssize_t count = ::write(input_, typed_.data(), typed_.size());
  if (count > 0) typed_.erase(0, static_cast<size_t>(count));
  if (count < 0 && !isTransient()) typed_.clear();  // the container has closed its end
}

void AttachServer::flush(Client& client) {
  const ssize_t count =
      ::send(client.socket.get(), client.waiting.data(), client.waiting.size(), MSG_NOSIGNAL);
  if (count < 0 && !isTransient()) client.isGone = true;
  if (count <= 0) return;
  client.waiting.erase(0, static_cast<size_t>(count));
  client.progressMs = sys::monotonicMs();
}

void AttachServer::send(LogStream stream, std::string_view bytes) {
  if (clients_.empty()) return;
  const char kind = stream == LogStream::out ? kFrameOut : kFrameErr;
  while (!bytes.empty()) {
    const std::string frame = frameOf(kind, bytes.substr(0, FrameReader::kMaxContent));
    bytes.remove_prefix(frame.size() - kHeader);
    for (Client& client : clients_) {
      if (client.waiting.empty()) client.progressMs = sys::monotonicMs();
      client.waiting += frame;
    }
  }
  for (Client& client : clients_) flush(client);
  dropGone();
}

bool AttachServer::isBehind() const {
  return std::any_of(clients_.begin(), clients_.end(),
                     [](const Client& client) { return client.waiting.size() > kHighWater; });
}

int AttachServer::timeoutMs() const {
  return isBehind() ? 1000 : -1;
}

// A terminal that was stopped (Ctrl-S, Ctrl-Z) must not stop the container for ever.
void AttachServer::dropStalled() {
  const std::int64_t now = sys::monotonicMs();
  for (Client& client : clients_) {
    if (client.waiting.size() > kHighWater && now - client.progressMs > kStallMs) {
      client.isGone = true;
    }
  }
  dropGone();
}

void AttachServer::dropGone() {
  std::erase_if(clients_, [](const Client& client) { return client.isGone; });
}

void AttachServer::finish() {
  for (Client& client : clients_) {
    client.progressMs = sys::monotonicMs();
    while (!client.waiting.empty() && !client.isGone) {
      pollfd ready{client.socket.get(), POLLOUT, 0};
      if (::poll(&ready, 1, 2000) <= 0) break;
      flush(client);
    }
  }
  clients_.clear();
}

}  // namespace img::runtime
