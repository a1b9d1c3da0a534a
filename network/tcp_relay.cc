#include "network/tcp_relay.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>

#include "base/sys.h"

namespace img::network {
namespace {

constexpr size_t kScratch = size_t{128} << 10;
// What one connection may move before the others get their turn.
constexpr size_t kTurn = size_t{2} << 20;
constexpr int kAcceptsATurn = 64;
constexpr int kPipeSize = 256 << 10;
// A stream that brings less at a time gives its pipe back.
constexpr size_t kLittle = size_t{32} << 10;
// After a lack of descriptors or memory in the whole system.
constexpr int kRetryAcceptMs = 100;
constexpr int kKeepAliveSeconds = 60;

bool wouldBlock(int errnum) {
  return errnum == EAGAIN || errnum == EWOULDBLOCK || errnum == EINTR;
}

void setOption(int socket, int level, int name, int value) {
  // Options that only tune: a kernel without one relays all the same.
  (void)::setsockopt(socket, level, name, &value, sizeof value);
}

// The relay must add no delay of its own, and must notice peers that are gone without a word.
void tune(int socket) {
  setOption(socket, IPPROTO_TCP, TCP_NODELAY, 1);
  setOption(socket, SOL_SOCKET, SO_KEEPALIVE, 1);
  setOption(socket, IPPROTO_TCP, TCP_KEEPIDLE, kKeepAliveSeconds);
}

// Closing with this sends a reset instead of an orderly end (socket(7), SO_LINGER).
void closeWithReset(Fd& socket) {
  if (!socket) return;
  const linger none{1, 0};
  (void)::setsockopt(socket.get(), SOL_SOCKET, SO_LINGER, &none, sizeof none);
  socket.reset();
}

class Connection;

// One of the two sockets of a connection. Edge-triggered: what an event said stays true until a
// call says EAGAIN.
struct Side final : EventHandler {
  explicit Side(Connection& connection) : owner(connection) {}
  void onEvents(std::uint32_t events) override;

  Connection& owner;
  Fd socket;
  bool isReadable = false, isWritable = false;
  bool isHungUp = false;  // the peer sends no more: the end follows what is still to be read
  bool isEof = false;     // ... and we have read it
  bool isShut = false;    // we have told it that no more comes
  bool isBulk = false;    // much comes from it at a time: worth a pipe (Pipes)
  // Read on the other side, to be written on this one; never both.
  std::string pending;
  Pipe pipe;
  size_t queued = 0;  // bytes in the pipe

  void drop(size_t count) {
    pending.erase(0, count);
    // An idle connection keeps no buffer.
    if (pending.empty()) std::string{}.swap(pending);
  }
};

// Pipes for splice(2), which moves pages from one socket to the other without copying them: half
// the work for a long stream, nothing gained for short messages. There are few, handed to those
// streams that have much to move at the moment; without one a stream is copied.
class Pipes {
 public:
  explicit Pipes(size_t most) : left_(most) {}

  bool lend(Pipe& to) {
    if (to.read) return true;
    if (!free_.empty()) {
      to = std::move(free_.back());
      free_.pop_back();
      return true;
    }
    if (left_ == 0) return false;
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0) return false;
    to = Pipe{Fd{ends[0]}, Fd{ends[1]}};
    // What an ordinary user may have in pipes is limited (pipe(7)): the smaller one works too.
    (void)::fcntl(ends[0], F_SETPIPE_SZ, kPipeSize);
    --left_;
    return true;
  }

  // An empty one; one with bytes in it is closed and another may be made in its place.
  void takeBack(Pipe& from, bool isEmpty) {
    if (!from.read) return;
    if (isEmpty)
      free_.push_back(std::move(from));
    else
      ++left_;
    from = Pipe{};
  }

 private:
  size_t left_;
  std::vector<Pipe> free_;
};

struct Shared {
  EventLoop& loop;
  Targets targets;
  Pipes pipes;
  std::vector<char> scratch = std::vector<char>(kScratch);
  std::vector<Connection*> ended{};
};

class Connection {
 public:
  Connection(Shared& shared, Fd client, std::vector<SocketAddress> targets)
      : shared_(shared), targets_(std::move(targets)) {
    client_.socket = std::move(client);
  }

  void begin() {
    tune(client_.socket.get());
    watch(client_);
    connectNext();
  }

  void onEvents(Side& side, std::uint32_t events) {
    if (hasEnded_) return;
    if (events == 0) isCalledAgain_ = false;
    if ((events & (EPOLLIN | EPOLLERR)) != 0) side.isReadable = true;
    if ((events & (EPOLLRDHUP | EPOLLHUP)) != 0) side.isReadable = side.isHungUp = true;
    if ((events & EPOLLOUT) != 0) side.isWritable = true;
    if (!isConnected_) {
      if (&side == &client_ || !isAnswered()) return;
      if (!isConnected_) return connectNext();
    }
    if (!move(client_, server_) || !move(server_, client_)) return reset();
    if (isDone(client_, server_) && isDone(server_, client_)) end();
  }

 private:
  void watch(Side& side) {
    shared_.loop.watch(side.socket.get(), EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, side);
  }

  // Addresses one after the other, until one is there to be connected to.
  void connectNext() {
    while (next_ < targets_.size()) {
      const SocketAddress& target = targets_[next_++];
      server_.socket = Fd{::socket(target.family(), SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)};
      if (!server_.socket) continue;
      const int result = ::connect(server_.socket.get(), target.get(), target.size);
      if (result != 0 && errno != EINPROGRESS) continue;
      server_.isReadable = server_.isWritable = server_.isHungUp = false;
      tune(server_.socket.get());
      return watch(server_);
    }
    reset();
  }

  // Whether connect(2) has come to an end; isConnected_ says to which.
  bool isAnswered() {
    int errnum = 0;
    socklen_t size = sizeof errnum;
    (void)::getsockopt(server_.socket.get(), SOL_SOCKET, SO_ERROR, &errnum, &size);
    isConnected_ = errnum == 0 && server_.isWritable;
    return isConnected_ || errnum != 0;
  }

  // False: the connection is broken. Leaves when one of the two has to be waited for, or when its
  // turn is over.
  bool move(Side& from, Side& to) {
    for (size_t moved = 0;;) {
      if (!to.pending.empty()) {
        if (!to.isWritable) return true;
        const ssize_t count = write(to, to.pending);
        if (count < 0) return false;
        to.drop(static_cast<size_t>(count));
        continue;
      }
      if (to.queued > 0) {
        if (!to.isWritable) return true;
        if (!spliceOut(to)) return false;
        continue;
      }
      if (from.isEof || !from.isReadable) shared_.pipes.takeBack(to.pipe, true);
      if (from.isEof) return finish(to);
      if (!from.isReadable || !to.isWritable) return true;
      if (moved >= kTurn) return callAgain();
      const bool isSpliced = from.isBulk && shared_.pipes.lend(to.pipe);
      const ssize_t count = isSpliced ? spliceIn(from, to) : copy(from, to);
      if (count < 0) return false;
      moved += static_cast<size_t>(count);
    }
  }

  // What was read, 0 for nothing; less than 0: the connection is broken. So spliceIn().
  ssize_t copy(Side& from, Side& to) {
    const ssize_t count = read(from);
    if (count <= 0) return count;
    from.isBulk = static_cast<size_t>(count) == shared_.scratch.size();
    const std::string_view bytes{shared_.scratch.data(), static_cast<size_t>(count)};
    const ssize_t written = write(to, bytes);
    if (written < 0) return -1;
    to.pending = bytes.substr(static_cast<size_t>(written));
    return count;
  }

  // The pipe is empty: EAGAIN is about the socket.
  static ssize_t spliceIn(Side& from, Side& to) {
    const ssize_t count = ::splice(from.socket.get(), nullptr, to.pipe.write.get(), nullptr,
                                   kPipeSize, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
    if (count == 0) from.isEof = true;
    if (count < 0 && !wouldBlock(errno)) return -1;
    if (count < 0 && errno != EINTR) from.isReadable = false;
    if (count < 0) return 0;
    to.queued = static_cast<size_t>(count);
    from.isBulk = to.queued >= kLittle;
    return count;
  }

  static bool spliceOut(Side& to) {
    const ssize_t count = ::splice(to.pipe.read.get(), nullptr, to.socket.get(), nullptr, to.queued,
                                   SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
    if (count < 0 && !wouldBlock(errno)) return false;
    if (count < 0 && errno != EINTR) to.isWritable = false;
    if (count > 0) to.queued -= static_cast<size_t>(count);
    return true;
  }

  ssize_t read(Side& from) {
    const size_t size = shared_.scratch.size();
    const ssize_t count = ::recv(from.socket.get(), shared_.scratch.data(), size, MSG_DONTWAIT);
    if (count > 0) {
      // Less than asked for: there was no more. But the edge of an end that was announced together
      // with these bytes does not come again.
      if (static_cast<size_t>(count) < size && !from.isHungUp) from.isReadable = false;
      return count;
    }
    if (count == 0) from.isEof = true;
    if (count < 0 && !wouldBlock(errno)) return -1;
    if (count < 0 && errno != EINTR) from.isReadable = false;
    return 0;
  }

  static ssize_t write(Side& to, std::string_view bytes) {
    const ssize_t count =
        ::send(to.socket.get(), bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (count >= 0) return count;
    if (!wouldBlock(errno)) return -1;
    if (errno != EINTR) to.isWritable = false;
    return 0;
  }

  static bool finish(Side& to) {
    if (!to.isShut) (void)::shutdown(to.socket.get(), SHUT_WR);
    to.isShut = true;
    return true;
  }

  static bool isDone(const Side& from, const Side& to) { return from.isEof && to.isShut; }

  bool callAgain() {
    if (!isCalledAgain_) shared_.loop.callAgain(client_);
    isCalledAgain_ = true;
    return true;
  }

  void reset() {
    closeWithReset(client_.socket);
    closeWithReset(server_.socket);
    end();
  }

  void end() {
    hasEnded_ = true;
    shared_.loop.forget(client_);
    for (Side* side : {&client_, &server_}) {
      shared_.pipes.takeBack(side->pipe, side->queued == 0);
    }
    client_.socket.reset();
    server_.socket.reset();
    shared_.ended.push_back(this);
  }

  Shared& shared_;
  std::vector<SocketAddress> targets_;
  size_t next_ = 0;
  bool isConnected_ = false, isCalledAgain_ = false, hasEnded_ = false;
  Side client_{*this}, server_{*this};
};

void Side::onEvents(std::uint32_t events) {
  owner.onEvents(*this, events);
}

}  // namespace

struct TcpRelay::Impl {
  struct Listener final : EventHandler {
    Listener(Impl& relay, Fd fd, std::uint16_t port)
        : impl(relay), socket(std::move(fd)), containerPort(port) {}
    void onEvents(std::uint32_t) override { impl.accept(*this); }
    Impl& impl;
    Fd socket;
    std::uint16_t containerPort;
  };

  Impl(EventLoop& loop, Targets targets, const TcpLimits& limits)
      : shared{loop, std::move(targets), Pipes{limits.maxPipes}},
        maxConnections(std::max<size_t>(limits.maxConnections, 1)) {}

  void accept(const Listener& listener) {
    for (int i = 0; i < kAcceptsATurn && !isHeldBack; ++i) {
      if (connections.size() >= maxConnections) return holdBack();
      Fd client{::accept4(listener.socket.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK)};
      if (!client) {
        const bool isLacking =
            errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM;
        if (isLacking) retryAt = sys::monotonicMs() + kRetryAcceptMs;
        if (isLacking) holdBack();
        if (errno == EINTR || errno == ECONNABORTED) continue;
        return;
      }
      auto connection = std::make_unique<Connection>(shared, std::move(client),
                                                     shared.targets(listener.containerPort));
      Connection& begun = *connection;
      connections.emplace(&begun, std::move(connection));
      begun.begin();
    }
  }

  // The listening sockets stay as they are, and readable: without this the loop would spin.
  void holdBack() {
    isHeldBack = true;
    for (const auto& listener : listeners) {
      shared.loop.change(listener->socket.get(), 0, *listener);
    }
  }

  void acceptAgain() {
    isHeldBack = false;
    for (const auto& listener : listeners) {
      shared.loop.change(listener->socket.get(), EPOLLIN, *listener);
    }
  }

  Shared shared;
  size_t maxConnections;
  bool isHeldBack = false;
  std::int64_t retryAt = 0;  // not before, when the system lacked something
  std::vector<std::unique_ptr<Listener>> listeners;
  std::unordered_map<const Connection*, std::unique_ptr<Connection>> connections;
};

TcpRelay::TcpRelay(EventLoop& loop, Targets targets, const TcpLimits& limits)
    : impl_(std::make_unique<Impl>(loop, std::move(targets), limits)) {}

TcpRelay::~TcpRelay() = default;

void TcpRelay::listen(Fd socket, std::uint16_t containerPort) {
  auto listener = std::make_unique<Impl::Listener>(*impl_, std::move(socket), containerPort);
  impl_->shared.loop.watch(listener->socket.get(), EPOLLIN, *listener);
  impl_->listeners.push_back(std::move(listener));
}

int TcpRelay::tidy() {
  for (const Connection* ended : std::exchange(impl_->shared.ended, {})) {
    impl_->connections.erase(ended);
  }
  const bool mustWait = !impl_->isHeldBack || impl_->connections.size() >= impl_->maxConnections;
  if (mustWait) return -1;
  const std::int64_t rest = impl_->retryAt - sys::monotonicMs();
  if (rest > 0) return static_cast<int>(rest);
  impl_->acceptAgain();
  return -1;
}

size_t TcpRelay::connections() const {
  return impl_->connections.size();
}

}  // namespace img::network
