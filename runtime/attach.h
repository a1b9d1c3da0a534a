// Further terminals on a running container: its keeper listens on the socket `attach` in the
// container's folder, and whoever connects gets a copy of the output from then on, may type, and
// tells the size of his window. Frames in both directions: a letter, the length of the content in
// four bytes (little endian), the content.
//
// The socket is a path in a folder of the store (0700), 0600 itself, in no container's reach
// (security.md N12), and takes its own user and root only.
#pragma once

#include <poll.h>
#include <sys/un.h>

#include <cstdint>
#include <deque>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/fd.h"
#include "runtime/detach_keys.h"
#include "runtime/log_file.h"
#include "runtime/monitor.h"

namespace img::runtime {

inline constexpr char kAttachSocket[] = "attach";

// sun_path holds 108 bytes (unix(7)) and a store may lie deeper: the folder is reached through its
// descriptor.
sockaddr_un attachAddress(int folder);

// Reassembles frames from what a stream of bytes brings.
class FrameReader {
 public:
  static constexpr size_t kMaxContent = size_t{64} << 10;
  struct Frame {
    char kind = 0;
    std::string content;
  };
  void feed(std::string_view bytes) { buffer_.append(bytes); }
  // False: none complete yet. Throws Kind::corrupt when a length is beyond the limit.
  bool next(Frame& frame);

 private:
  std::string buffer_;
};
std::string frameOf(char kind, std::string_view content);

// The letters.
inline constexpr char kFrameOut = 'o', kFrameErr = 'e';       // from the keeper: output
inline constexpr char kFrameInput = 'i', kFrameWindow = 'w';  // to it: typed; rows and columns

// The keeper's side; part of the loop in monitor.cc.
class AttachServer {
 public:
  // Listens in `folder`, a container's; what a former keeper left there is replaced.
  explicit AttachServer(const Fd& folder);
  AttachServer(const AttachServer&) = delete;
  AttachServer& operator=(const AttachServer&) = delete;
  ~AttachServer();

  // Where what is typed goes, -1: nowhere; and the pty whose window follows, -1: none.
  void setInput(int input, int terminal);
  void addTo(std::vector<pollfd>& polls) const;
  // What addTo() added, with the answers of poll(2).
  void handle(std::span<const pollfd> polls);
  void send(LogStream stream, std::string_view bytes);
  // A client has so much waiting that no more should be read from the container for now.
  [[nodiscard]] bool isBehind() const;
  // How long to wait at most until a client that takes nothing is let go; -1: there is none.
  [[nodiscard]] int timeoutMs() const;
  void dropStalled();
  // The container has ended: what is waiting goes out as far as anybody takes it.
  void finish();

 private:
  struct Client {
    Fd socket;
    FrameReader reader;
    std::string waiting;
    std::int64_t progressMs = 0;  // when it last took something
    bool isGone = false;
  };
  void accept();
  void receive(Client& client);
  void take(const FrameReader::Frame& frame);
  static void flush(Client& client);
  void typeOn();
  void dropGone();

  Fd folder_;
  Fd listener_;
  int input_ = -1, terminal_ = -1;
  std::string typed_;  // not yet taken by the container
  std::deque<Client> clients_;
};

// The other side.
struct AttachSession {
  Fd socket;
  int input = -1;  // -1: nothing is typed
  int out = 1, err = 2;
  bool isTerminal = false;  // the window of `input` is told
  DetachKeys keys;
  std::function<void(int signal)> onSignal;  // may be empty
};
enum class AttachEnd { ended, detached };
// Throws Kind::failed when nobody listens there.
Fd connectAttach(int folder);
AttachEnd followAttach(AttachSession session, const SignalCatcher& signals);

}  // namespace img::runtime
