#include "runtime/monitor.h"

#include <poll.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <algorithm>
#include <span>
#include <utility>
#include <vector>

#include "base/sys.h"
#include "runtime/attach.h"
#include "runtime/idle_memory.h"

namespace img::runtime {
namespace {

constexpr int kForwarded[] = {SIGINT,  SIGTERM, SIGHUP,   SIGQUIT,
                              SIGUSR1, SIGUSR2, SIGWINCH, SIGCONT};
// poll(2) promises room for this much in a pipe: a write of no more never blocks (pipe(7),
// PIPE_BUF).
constexpr size_t kSafeWrite = 4096;

sigset_t forwardedSet() {
  sigset_t set;
  ::sigemptyset(&set);
  for (const int signal : kForwarded) ::sigaddset(&set, signal);
  return set;
}

// One direction of copying. Reads only when all it has read before is written.
struct Channel {
  Fd from;            // owned ends are closed at end of file
  int readFrom = -1;  // the descriptor to read: from.get(), or one that is not ours
  int to = -1;        // -1: the log alone
  LogWriter* log = nullptr;
  LogStream stream = LogStream::out;
  AttachServer* attach = nullptr;
  DetachKeys* keys = nullptr;  // of what is typed
  std::string pending = {};

  [[nodiscard]] bool isOpen() const { return readFrom >= 0; }
  void close() {
    from.reset();
    readFrom = -1;
    pending.clear();
  }
};

// One read. False: nothing there at the moment.
bool readOnce(Channel& channel) {
  char chunk[65536];
  const ssize_t count = ::read(channel.readFrom, chunk, sizeof chunk);
  if (count < 0 && (errno == EAGAIN || errno == EINTR)) return false;
  // A pty whose last user is gone reads as EIO (pty(7)).
  if (count <= 0) {
    channel.close();
    return false;
  }
  const std::string_view bytes{chunk, static_cast<size_t>(count)};
  if (channel.log != nullptr) channel.log->write(channel.stream, bytes);
  if (channel.attach != nullptr) channel.attach->send(channel.stream, bytes);
  if (channel.keys != nullptr) {
    channel.pending = channel.keys->pass(bytes);
  } else if (channel.to >= 0) {
    channel.pending = bytes;
  }
  return true;
}

// A reader of ours that went away: the container's end of the pipe closes too, so that its command
// gets the SIGPIPE that it would have got without us.
void writeOnce(Channel& channel) {
  const size_t size = std::min(channel.pending.size(), kSafeWrite);
  const ssize_t count = ::write(channel.to, channel.pending.data(), size);
  if (count > 0) channel.pending.erase(0, static_cast<size_t>(count));
  if (count < 0 && errno != EAGAIN && errno != EINTR) channel.close();
}

void drain(Channel& channel) {
  while (channel.isOpen()) {
    while (!channel.pending.empty()) {
      pollfd ready{channel.to, POLLOUT, 0};
      sys::check([&] { return ::poll(&ready, 1, -1); }, "poll");
      writeOnce(channel);
    }
    if (channel.isOpen() && !readOnce(channel)) return;
  }
}

std::vector<Channel> channelsOf(Relay& relay) {
  std::vector<Channel> channels;
  const auto add = [&](Fd from, int to, LogStream stream) {
    if (!from) return;
    sys::setNonBlocking(from.get(), true);
    const int fd = from.get();
    channels.push_back({std::move(from), fd, to, relay.log, stream, relay.attach});
  };
  add(std::move(relay.out), relay.copyOut, LogStream::out);
  add(std::move(relay.err), relay.copyErr, LogStream::err);
  return channels;
}

void forward(const Container& container, const SignalCatcher& signals, const Relay& relay) {
  while (const int signal = signals.take()) {
    if (relay.onSignal) relay.onSignal(signal);
    if (signal == SIGWINCH && relay.terminal) copyWindowSize(relay.input, relay.terminal.get());
    // In raw mode the keys reach the container as bytes: a signal then comes from someone else, and
    // is meant.
    else if (relay.forwardSignals)
      container.kill(signal);
  }
}

}  // namespace

SignalCatcher::SignalCatcher() {
  const sigset_t set = forwardedSet();
  ::sigprocmask(SIG_BLOCK, &set, &before_);  // NOLINT(concurrency-mt-unsafe): one thread
  fd_ =
      Fd{sys::check([&] { return ::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK); }, "signalfd")};
}

SignalCatcher::~SignalCatcher() {
  ::sigprocmask(SIG_SETMASK, &before_, nullptr);  // NOLINT(concurrency-mt-unsafe): one thread
}

int SignalCatcher::take() const {
  signalfd_siginfo info{};
  const ssize_t count = ::read(fd_.get(), &info, sizeof info);
  return count == sizeof info ? static_cast<int>(info.ssi_signo) : 0;
}

void copyWindowSize(int from, int to) {
  winsize size{};
  if (from >= 0 && ::ioctl(from, TIOCGWINSZ, &size) == 0) ::ioctl(to, TIOCSWINSZ, &size);
}

namespace {

std::vector<Channel> allChannels(Relay& relay) {
  std::vector<Channel> channels = channelsOf(relay);
  if (!relay.terminal) return channels;
  const int terminal = relay.terminal.get();
  sys::setNonBlocking(terminal, true);
  channels.push_back({Fd{}, terminal, relay.copyOut, relay.log, LogStream::out, relay.attach});
  if (relay.input >= 0) {
    Channel typed{Fd{}, relay.input, terminal};
    typed.keys = &relay.keys;
    channels.push_back(std::move(typed));
  }
  return channels;
}

// What was typed before the detach keys has reached the container.
bool isAllTyped(const std::vector<Channel>& channels) {
  return std::all_of(channels.begin(), channels.end(), [](const Channel& channel) {
    return channel.keys == nullptr || channel.pending.empty();
  });
}

// Our own streams are somebody else's from here on.
void detach(Relay& relay, std::vector<Channel>& channels) {
  std::erase_if(channels, [](const Channel& channel) { return channel.keys != nullptr; });
  for (Channel& channel : channels) {
    channel.to = -1;
    channel.pending.clear();
  }
  relay.input = relay.copyOut = relay.copyErr = -1;
  relay.keys = {};
  if (relay.onDetach) relay.onDetach();
}

std::vector<pollfd> pollsFor(const Container& container, const SignalCatcher& signals,
                             const Relay& relay, const std::vector<Channel>& channels) {
  std::vector<pollfd> polls = {{container.pidfd(), POLLIN, 0}, {signals.fd(), POLLIN, 0}};
  const bool mustWait = relay.attach != nullptr && relay.attach->isBehind();
  for (const Channel& channel : channels) {
    const bool writes = !channel.pending.empty();
    const bool waits = mustWait && !writes && channel.keys == nullptr;
    polls.push_back({waits    ? -1
                     : writes ? channel.to
                              : channel.readFrom,
                     static_cast<short>(writes ? POLLOUT : POLLIN), 0});
  }
  for (const Watch& watch : relay.watches) polls.push_back({watch.fd, POLLIN, 0});
  if (relay.attach != nullptr) relay.attach->addTo(polls);
  return polls;
}

// poll(2) that makes the process small before it waits for long. What happens often costs nothing:
// only when nothing has come for a while.
class IdlePoll {
 public:
  explicit IdlePoll(bool isWanted) : isSmall_(!isWanted), isWanted_(isWanted) {}

  void wait(std::vector<pollfd>& polls, int timeoutMs) {
    constexpr int kPatienceMs = 200;
    const bool isShort = timeoutMs >= 0 && timeoutMs <= kPatienceMs;
    const int first = isSmall_ || isShort ? timeoutMs : kPatienceMs;
    if (poll(polls, first) || isSmall_ || isShort) return;
    shrinkForWaiting();
    isSmall_ = true;
    poll(polls, timeoutMs < 0 ? -1 : timeoutMs - kPatienceMs);
  }

 private:
  bool poll(std::vector<pollfd>& polls, int timeoutMs) {
    const int count =
        sys::check([&] { return ::poll(polls.data(), polls.size(), timeoutMs); }, "poll");
    if (count > 0) isSmall_ = !isWanted_;
    return count > 0;
  }

  bool isSmall_, isWanted_;
};

}  // namespace

ExitStatus follow(Container& container, const SignalCatcher& signals, Relay relay) {
  std::vector<Channel> channels = allChannels(relay);
  IdlePoll idle{relay.isBackground};
  if (relay.attach != nullptr) {
    const int terminal = relay.terminal ? relay.terminal.get() : -1;
    relay.attach->setInput(terminal >= 0 ? terminal : relay.attachInput, terminal);
  }
  for (;;) {
    std::vector<pollfd> polls = pollsFor(container, signals, relay, channels);
    const int timeout = relay.attach != nullptr ? relay.attach->timeoutMs() : -1;
    idle.wait(polls, timeout);
    if (polls[1].revents != 0) forward(container, signals, relay);
    if (polls[0].revents != 0) break;
    const size_t watches = 2 + channels.size();
    if (relay.attach != nullptr) {
      relay.attach->handle(std::span{polls}.subspan(watches + relay.watches.size()));
      relay.attach->dropStalled();
    }
    for (size_t i = 0; i < relay.watches.size(); ++i) {
      if (polls[watches + i].revents != 0) relay.watches[i].onReadable();
    }
    for (size_t i = 0; i < channels.size(); ++i) {
      if (polls[i + 2].revents == 0) continue;
      if (channels[i].pending.empty()) {
        readOnce(channels[i]);
      } else {
        writeOnce(channels[i]);
      }
    }
    if (relay.keys.isComplete() && isAllTyped(channels)) detach(relay, channels);
  }
  // From here on nobody writes any more: PID 1 is gone, and with it its whole pid namespace.
  const ExitStatus status = container.wait();
  for (Channel& channel : channels) {
    if (channel.keys == nullptr) drain(channel);
  }
  if (relay.attach != nullptr) relay.attach->finish();
  return status;
}

}  // namespace img::runtime
