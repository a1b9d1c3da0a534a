#include "network/udp_relay.h"

#include <netinet/in.h>
#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <list>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>

#include "base/sys.h"

namespace img::network {
namespace {

constexpr size_t kMaxDatagram = 65536;
constexpr int kDatagramsATurn = 64;

// Which address of ours a datagram was sent to: the answer leaves from there. A machine has more
// than one, and a client takes answers from the one it asked only.
struct Arrival {
  SocketAddress from;
  int family = AF_UNSPEC;  // AF_UNSPEC: not told
  in_pktinfo v4{};
  in6_pktinfo v6{};
  std::string_view bytes;
};

using Control = std::array<char, CMSG_SPACE(sizeof(in6_pktinfo)) + CMSG_SPACE(sizeof(in_pktinfo))>;

void readControl(const msghdr& message, Arrival& arrival) {
  for (const cmsghdr* part = CMSG_FIRSTHDR(&message); part != nullptr;
       part = CMSG_NXTHDR(const_cast<msghdr*>(&message), const_cast<cmsghdr*>(part))) {
    if (part->cmsg_level == IPPROTO_IP && part->cmsg_type == IP_PKTINFO) {
      std::memcpy(&arrival.v4, CMSG_DATA(part), sizeof arrival.v4);
      arrival.family = AF_INET;
      // The interface is the kernel's choice again: only the address counts.
      arrival.v4.ipi_ifindex = 0;
    }
    if (part->cmsg_level == IPPROTO_IPV6 && part->cmsg_type == IPV6_PKTINFO) {
      std::memcpy(&arrival.v6, CMSG_DATA(part), sizeof arrival.v6);
      arrival.family = AF_INET6;
      if (!IN6_IS_ADDR_LINKLOCAL(&arrival.v6.ipi6_addr)) arrival.v6.ipi6_ifindex = 0;
    }
  }
}

bool receive(int socket, std::vector<char>& buffer, Arrival& arrival) {
  Control control;
  iovec data{buffer.data(), buffer.size()};
  msghdr message{};
  message.msg_name = &arrival.from.raw;
  message.msg_namelen = sizeof arrival.from.raw;
  message.msg_iov = &data;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  const ssize_t count = ::recvmsg(socket, &message, MSG_DONTWAIT);
  if (count < 0) return false;
  arrival.from.size = message.msg_namelen;
  arrival.bytes = {buffer.data(), static_cast<size_t>(count)};
  readControl(message, arrival);
  return true;
}

template <class Info>
void setControl(msghdr& message, Control& control, int level, int type, const Info& info) {
  message.msg_control = control.data();
  message.msg_controllen = CMSG_SPACE(sizeof info);
  cmsghdr* part = CMSG_FIRSTHDR(&message);
  part->cmsg_level = level;
  part->cmsg_type = type;
  part->cmsg_len = CMSG_LEN(sizeof info);
  std::memcpy(CMSG_DATA(part), &info, sizeof info);
}

// What cannot be sent now is lost, as any datagram may be.
void answer(int socket, const Arrival& asked, std::string_view bytes) {
  Control control{};
  iovec data{const_cast<char*>(bytes.data()), bytes.size()};
  msghdr message{};
  message.msg_name = const_cast<sockaddr_storage*>(&asked.from.raw);
  message.msg_namelen = asked.from.size;
  message.msg_iov = &data;
  message.msg_iovlen = 1;
  if (asked.family == AF_INET) setControl(message, control, IPPROTO_IP, IP_PKTINFO, asked.v4);
  if (asked.family == AF_INET6) setControl(message, control, IPPROTO_IPV6, IPV6_PKTINFO, asked.v6);
  (void)::sendmsg(socket, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
}

std::string keyOf(int listener, const Arrival& arrival) {
  std::string key{reinterpret_cast<const char*>(&listener), sizeof listener};
  key.append(reinterpret_cast<const char*>(&arrival.from.raw), arrival.from.size);
  if (arrival.family == AF_INET) {
    key.append(reinterpret_cast<const char*>(&arrival.v4.ipi_spec_dst), sizeof(in_addr));
  }
  if (arrival.family == AF_INET6) {
    key.append(reinterpret_cast<const char*>(&arrival.v6.ipi6_addr), sizeof(in6_addr));
  }
  return key;
}

Fd connectTo(const std::vector<SocketAddress>& targets) {
  for (const SocketAddress& target : targets) {
    Fd socket{::socket(target.family(), SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)};
    if (socket && ::connect(socket.get(), target.get(), target.size) == 0) return socket;
  }
  return Fd{};
}

}  // namespace

struct UdpRelay::Impl {
  struct Listener final : EventHandler {
    Listener(Impl& relay, Fd fd, std::uint16_t port)
        : impl(relay), socket(std::move(fd)), containerPort(port) {}
    void onEvents(std::uint32_t) override { impl.fromOutside(*this); }
    Impl& impl;
    Fd socket;
    std::uint16_t containerPort;
  };

  struct Client final : EventHandler {
    Client(Impl& relay, const Listener& outside) : impl(relay), listener(outside) {}
    void onEvents(std::uint32_t) override { impl.fromInside(*this); }
    Impl& impl;
    const Listener& listener;
    Arrival arrival;  // without the bytes
    std::string key;
    Fd socket;
    std::int64_t lastUse = 0;
    std::list<Client*>::iterator place;
  };

  Impl(EventLoop& eventLoop, Targets where, const UdpLimits& most)
      : loop(eventLoop), targets(std::move(where)), limits(most) {}

  void fromOutside(const Listener& listener) {
    for (int i = 0; i < kDatagramsATurn; ++i) {
      Arrival arrival;
      if (!receive(listener.socket.get(), buffer, arrival)) return;
      Client* client = clientOf(listener, arrival);
      if (client == nullptr) continue;
      touch(*client);
      const auto send = [&] {
        return ::send(client->socket.get(), arrival.bytes.data(), arrival.bytes.size(),
                      MSG_DONTWAIT | MSG_NOSIGNAL);
      };
      // The first call may only report that an earlier datagram found nobody (udp(7)).
      if (send() < 0 && errno == ECONNREFUSED) (void)send();
    }
  }

  void fromInside(Client& client) {
    if (!client.socket) return;  // forgotten in this very batch
    for (int i = 0; i < kDatagramsATurn; ++i) {
      const ssize_t count = ::recv(client.socket.get(), buffer.data(), buffer.size(), MSG_DONTWAIT);
      if (count < 0 && errno == ECONNREFUSED) continue;
      if (count < 0) return;
      touch(client);
      answer(client.listener.socket.get(), client.arrival,
             {buffer.data(), static_cast<size_t>(count)});
    }
  }

  Client* clientOf(const Listener& listener, const Arrival& arrival) {
    std::string key = keyOf(listener.socket.get(), arrival);
    if (const auto known = clients.find(key); known != clients.end()) return known->second.get();
    if (clients.size() >= limits.maxClients) forget(*bySilence.front());
    Fd socket = connectTo(targets(listener.containerPort));
    if (!socket) return nullptr;
    auto client = std::make_unique<Client>(*this, listener);
    client->arrival = arrival;
    client->arrival.bytes = {};
    client->key = std::move(key);
    client->socket = std::move(socket);
    client->place = bySilence.insert(bySilence.end(), client.get());
    loop.watch(client->socket.get(), EPOLLIN, *client);
    return clients.emplace(client->key, std::move(client)).first->second.get();
  }

  void touch(Client& client) {
    client.lastUse = sys::monotonicMs();
    bySilence.splice(bySilence.end(), bySilence, client.place);
  }

  // The object stays until the batch is over: an event for it may still be in there.
  void forget(Client& client) {
    client.socket.reset();
    bySilence.erase(client.place);
    auto node = clients.extract(client.key);
    forgotten.push_back(std::move(node.mapped()));
  }

  EventLoop& loop;
  Targets targets;
  UdpLimits limits;
  std::vector<char> buffer = std::vector<char>(kMaxDatagram);
  std::vector<std::unique_ptr<Listener>> listeners;
  std::unordered_map<std::string, std::unique_ptr<Client>> clients;
  std::list<Client*> bySilence;  // the most silent one first
  std::vector<std::unique_ptr<Client>> forgotten;
};

UdpRelay::UdpRelay(EventLoop& loop, Targets targets, const UdpLimits& limits)
    : impl_(std::make_unique<Impl>(loop, std::move(targets), limits)) {}

UdpRelay::~UdpRelay() = default;

void UdpRelay::listen(Fd socket, std::uint16_t containerPort) {
  auto listener = std::make_unique<Impl::Listener>(*impl_, std::move(socket), containerPort);
  impl_->loop.watch(listener->socket.get(), EPOLLIN, *listener);
  impl_->listeners.push_back(std::move(listener));
}

int UdpRelay::tidy() {
  const std::int64_t now = sys::monotonicMs();
  std::list<Impl::Client*>& silent = impl_->bySilence;
  while (!silent.empty() && silent.front()->lastUse + impl_->limits.idleMs <= now) {
    impl_->forget(*silent.front());
  }
  impl_->forgotten.clear();
  if (silent.empty()) return -1;
  return static_cast<int>(silent.front()->lastUse + impl_->limits.idleMs - now);
}

size_t UdpRelay::clients() const {
  return impl_->clients.size();
}

}  // namespace img::network
