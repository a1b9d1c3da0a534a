// The side of the caller of `attach`.
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>

#include "base/error.h"
#include "base/sys.h"
#include "runtime/attach.h"
#include "runtime/terminal.h"

namespace img::runtime {
namespace {

void sendFrame(int socket, char kind, std::string_view content) {
  std::string frame = frameOf(kind, content);
  while (!frame.empty()) {
    const ssize_t count = ::send(socket, frame.data(), frame.size(), MSG_NOSIGNAL);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return;  // the end of the container is seen by the next read
    frame.erase(0, static_cast<size_t>(count));
  }
}

void sendWindow(int socket, WindowSize size) {
  std::string content;
  for (const unsigned short number : {size.rows, size.columns}) {
    content += static_cast<char>(number & 0xff);
    content += static_cast<char>(number >> 8);
  }
  sendFrame(socket, kFrameWindow, content);
}

void tellWindow(const AttachSession& session) {
  const auto size = session.isTerminal ? windowSize(session.input) : std::nullopt;
  if (size) sendWindow(session.socket.get(), *size);
}

// A change of the size makes a full-screen program draw itself anew; the same size again would not.
void askForRedraw(const AttachSession& session) {
  const auto size = session.isTerminal ? windowSize(session.input) : std::nullopt;
  if (!size) return;
  sendWindow(session.socket.get(), {static_cast<unsigned short>(size->rows + 1), size->columns});
  sendWindow(session.socket.get(), *size);
}

// False: the keeper has closed its end.
bool showOutput(const AttachSession& session, FrameReader& reader) {
  char chunk[65536];
  const ssize_t count = sys::check(
      [&] {
        const ssize_t got = ::read(session.socket.get(), chunk, sizeof chunk);
        return got < 0 && errno == ECONNRESET ? 0 : got;  // closed with something of ours unread
      },
      "read from the container");
  if (count == 0) return false;
  reader.feed({chunk, static_cast<size_t>(count)});
  FrameReader::Frame frame;
  while (reader.next(frame)) {
    const int to = frame.kind == kFrameOut   ? session.out
                   : frame.kind == kFrameErr ? session.err
                                             : -1;
    if (to >= 0) writeAll(to, frame.content, "the output");
  }
  return true;
}

// False: nothing more will be typed.
bool passInput(AttachSession& session) {
  char chunk[4096];
  const ssize_t count = ::read(session.input, chunk, sizeof chunk);
  if (count < 0 && (errno == EINTR || errno == EAGAIN)) return true;
  if (count <= 0) return false;
  const std::string passed = session.keys.pass({chunk, static_cast<size_t>(count)});
  if (!passed.empty()) sendFrame(session.socket.get(), kFrameInput, passed);
  return true;
}

void handleSignals(const AttachSession& session, const SignalCatcher& signals) {
  while (const int signal = signals.take()) {
    if (signal == SIGWINCH) {
      tellWindow(session);
    } else if (session.onSignal) {
      session.onSignal(signal);
    }
  }
}

}  // namespace

Fd connectAttach(int folder) {
  Fd socket{sys::check([] { return ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0); }, "socket")};
  const sockaddr_un address = attachAddress(folder);
  const auto* generic = reinterpret_cast<const sockaddr*>(&address);
  if (::connect(socket.get(), generic, sizeof address) == 0) return socket;
  if (errno != ENOENT && errno != ECONNREFUSED) {
    throw Error::fromErrno(errno, "connect to the container's keeper");
  }
  throw Error{Kind::failed, "nobody can be attached to this container"}.why(
      "it was started in the foreground and its output goes to its caller alone");
}

AttachEnd followAttach(AttachSession session, const SignalCatcher& signals) {
  FrameReader reader;
  askForRedraw(session);
  for (;;) {
    pollfd polls[] = {
        {session.socket.get(), POLLIN, 0}, {signals.fd(), POLLIN, 0}, {session.input, POLLIN, 0}};
    sys::check([&] { return ::poll(polls, 3, -1); }, "poll");
    if (polls[1].revents != 0) handleSignals(session, signals);
    if (polls[0].revents != 0 && !showOutput(session, reader)) return AttachEnd::ended;
    if (polls[2].revents != 0 && !passInput(session)) session.input = -1;
    if (session.keys.isComplete()) return AttachEnd::detached;
  }
}

}  // namespace img::runtime
