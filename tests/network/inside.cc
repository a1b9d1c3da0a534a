#include "tests/network/inside.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <functional>
#include <thread>
#include <vector>

#include "base/error.h"
#include "base/sys.h"
#include "network/namespace.h"

namespace img::network {
namespace {

constexpr int kLimitSeconds = 20;

Fd bound(std::uint16_t port, int type) {
  const SocketAddress address = *socketAddress("0.0.0.0", port);
  Fd socket{::socket(AF_INET, type | SOCK_CLOEXEC, 0)};
  const int yes = 1;
  ::setsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
  sys::check([&] { return ::bind(socket.get(), address.get(), address.size); }, "bind {}", port);
  if (type == SOCK_STREAM) {
    sys::check([&] { return ::listen(socket.get(), 4096); }, "listen");
  }
  return socket;
}

void sendAll(int socket, const char* bytes, size_t size) {
  while (size > 0) {
    const ssize_t count = ::send(socket, bytes, size, MSG_NOSIGNAL);
    if (count <= 0) return;
    bytes += count;
    size -= static_cast<size_t>(count);
  }
}

void echo(int socket) {
  char bytes[65536];
  for (ssize_t count = 0; (count = ::recv(socket, bytes, sizeof bytes, 0)) > 0;) {
    sendAll(socket, bytes, static_cast<size_t>(count));
  }
}

void countBytes(int socket) {
  char bytes[65536];
  size_t total = 0;
  for (ssize_t count = 0; (count = ::recv(socket, bytes, sizeof bytes, 0)) > 0;) {
    total += static_cast<size_t>(count);
  }
  const std::string text = std::to_string(total);
  sendAll(socket, text.data(), text.size());
}

void sendPattern(int socket) {
  std::string wish;
  for (char c = 0; ::recv(socket, &c, 1, 0) == 1 && c != '\n';) wish += c;
  const size_t total = std::stoul(wish);
  std::vector<char> bytes(65536);
  for (size_t sent = 0; sent < total; sent += bytes.size()) {
    for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = patternAt(sent + i);
    sendAll(socket, bytes.data(), std::min(bytes.size(), total - sent));
  }
}

void resetPeer(int socket) {
  char byte = 0;
  (void)!::recv(socket, &byte, 1, 0);
  const linger none{1, 0};
  ::setsockopt(socket, SOL_SOCKET, SO_LINGER, &none, sizeof none);
}

void tellPeer(int socket) {
  sockaddr_in peer{};
  socklen_t size = sizeof peer;
  ::getpeername(socket, reinterpret_cast<sockaddr*>(&peer), &size);
  char text[INET_ADDRSTRLEN] = {};
  ::inet_ntop(AF_INET, &peer.sin_addr, text, sizeof text);
  sendAll(socket, text, std::strlen(text));
}

void serveTcp(Fd listener, const std::function<void(int)>& service) {
  for (;;) {
    const int socket = ::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC);
    if (socket < 0) return;
    std::thread{[socket, service] {
      const Fd owned{socket};
      service(socket);
    }}.detach();
  }
}

void serveUdp(Fd socket) {
  char bytes[65536] = "re: ";
  sockaddr_in from{};
  socklen_t size = sizeof from;
  for (;;) {
    size = sizeof from;
    const ssize_t count = ::recvfrom(socket.get(), bytes + 4, sizeof bytes - 4, 0,
                                     reinterpret_cast<sockaddr*>(&from), &size);
    if (count < 0) return;
    ::sendto(socket.get(), bytes, static_cast<size_t>(count) + 4, 0,
             reinterpret_cast<sockaddr*>(&from), size);
  }
}

[[noreturn]] void serveAll(const std::string& address, const Fd& ready) {
  sys::unshare(CLONE_NEWNET);
  bringLoopbackUp();
  if (!address.empty()) {
    // A bridge without ports stands for any interface (not every kernel has dummy ones).
    runProgram({"ip", "link", "add", "eth0", "type", "bridge"});
    runProgram({"ip", "address", "add", address + "/24", "dev", "eth0"});
    runProgram({"ip", "link", "set", "eth0", "up"});
  }
  const std::pair<std::uint16_t, void (*)(int)> services[] = {{kEcho, echo},
                                                              {kCount, countBytes},
                                                              {kSource, sendPattern},
                                                              {kReset, resetPeer},
                                                              {kPeer, tellPeer}};
  std::vector<std::thread> threads;
  for (const auto& [port, service] : services) {
    threads.emplace_back(serveTcp, bound(port, SOCK_STREAM), service);
  }
  threads.emplace_back(serveUdp, bound(kEcho, SOCK_DGRAM));
  writeAll(ready.get(), "+", "ready");
  for (;;) ::pause();
}

}  // namespace

Inside::Inside(const std::string& address) {
  Pipe ready = Pipe::make();
  child_ = Child::fork([&]() -> std::string { serveAll(address, ready.write); });
  ready.write.reset();
  char byte = 0;
  if (::read(ready.read.get(), &byte, 1) != 1) child_.finish();
}

char patternAt(size_t offset) {
  return static_cast<char>((offset * 2654435761U) >> 13);
}

Fd connectTo(const std::string& ip, std::uint16_t port) {
  const SocketAddress address = *socketAddress(ip, port);
  Fd socket{::socket(address.family(), SOCK_STREAM | SOCK_CLOEXEC, 0)};
  const timeval limit{kLimitSeconds, 0};
  ::setsockopt(socket.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  ::setsockopt(socket.get(), SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
  sys::check([&] { return ::connect(socket.get(), address.get(), address.size); }, "connect {} {}",
             ip, port);
  return socket;
}

void sendText(const Fd& socket, const std::string& text) {
  sendAll(socket.get(), text.data(), text.size());
}

std::string receiveAll(const Fd& socket) {
  std::string all;
  std::vector<char> bytes(65536);
  for (;;) {
    const ssize_t count = ::recv(socket.get(), bytes.data(), bytes.size(), 0);
    if (count < 0) return std::string{"broken: "} + ::strerrorname_np(errno);
    if (count == 0) return all;
    all.append(bytes.data(), static_cast<size_t>(count));
  }
}

std::string receiveSome(const Fd& socket, size_t count) {
  std::string bytes(count, '\0');
  const ssize_t got = ::recv(socket.get(), bytes.data(), count, MSG_WAITALL);
  return bytes.substr(0, got < 0 ? 0 : static_cast<size_t>(got));
}

void endSending(const Fd& socket) {
  ::shutdown(socket.get(), SHUT_WR);
}

}  // namespace img::network
