#include "builder/ssh_agent.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <cstring>
#include <thread>

#include "base/sys.h"
#include "base/text.h"

namespace img::builder {
namespace {

// draft-miller-ssh-agent, "Protocol numbers".
constexpr std::byte kFailure{5}, kRequestIdentities{11}, kSignRequest{13}, kExtension{27};
constexpr size_t kMaxMessage = size_t{256} << 10;  // OpenSSH's AGENT_MAX_LEN
constexpr int kStartMs = 5000;

sockaddr_un addressOf(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) {
    throw Error::make(Kind::failed, "the path of the socket {} is too long", text::quote(path));
  }
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  return address;
}

Fd newSocket() {
  return Fd{
      sys::check([] { return ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0); }, "make a socket")};
}

Fd connectTo(const std::string& path) {
  const sockaddr_un address = addressOf(path);
  Fd socket = newSocket();
  sys::check(
      [&] {
        return ::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address);
      },
      "connect to the ssh agent {}", path);
  return socket;
}

// One message with its length in front; empty at the end of the connection.
std::vector<std::byte> readMessage(int socket) {
  std::vector<std::byte> message(4);
  if (readFull(socket, message, "agent message") != message.size()) return {};
  size_t length = 0;
  for (const std::byte byte : message) length = length << 8 | std::to_integer<size_t>(byte);
  if (length == 0 || length > kMaxMessage) return {};
  message.resize(4 + length);
  const std::span<std::byte> body{message.data() + 4, length};
  if (readFull(socket, body, "agent message") != length) return {};
  return message;
}

bool isAllowed(std::byte type) {
  return type == kRequestIdentities || type == kSignRequest || type == kExtension;
}

// One client; what goes wrong with it is its own trouble.
void serve(const Fd& client, const std::string& agentSocket) noexcept {
  try {
    const Fd agent = connectTo(agentSocket);
    for (;;) {
      std::vector<std::byte> message = readMessage(client.get());
      if (message.empty()) return;
      if (isAllowed(message[4])) {
        writeAll(agent.get(), message, "agent message");
        message = readMessage(agent.get());
        if (message.empty()) return;
      } else {
        message = {std::byte{0}, std::byte{0}, std::byte{0}, std::byte{1}, kFailure};
      }
      writeAll(client.get(), message, "agent message");
    }
  } catch (const std::exception&) {
    return;
  }
}

// In a process of its own, whose end ends the threads.
[[noreturn]] void serveAll(int listener, const std::string& agentSocket) {
  std::vector<std::jthread> clients;
  for (;;) {
    Fd client{sys::check([&] { return ::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC); },
                         "accept a connection")};
    clients.emplace_back(
        [client = std::move(client), &agentSocket] { serve(client, agentSocket); });
  }
}

void waitForSocket(const std::string& path, Child& process) {
  for (int waited = 0; waited < kStartMs; ++waited) {
    if (sys::tryFstatat(AT_FDCWD, path)) return;
    pollfd poll{process.pidfd(), POLLIN, 0};
    if (::poll(&poll, 1, 1) <= 0) continue;
    process.finish();  // tells why
    break;
  }
  throw Error{Kind::failed, "ssh-agent did not start"};
}

}  // namespace

AgentRelay::AgentRelay(int folder, const std::string& name, const std::string& agentSocket)
    : listener_(newSocket()) {
  const sockaddr_un address = addressOf(sys::procPath(folder) + "/" + name);
  sys::check(
      [&] {
        return ::bind(listener_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address);
      },
      "make the socket of an ssh mount");
  sys::check([&] { return ::listen(listener_.get(), 16); }, "listen");
  server_ =
      Child::fork([this, agentSocket]() -> std::string { serveAll(listener_.get(), agentSocket); });
}

OwnAgent::OwnAgent(const std::vector<std::string>& keyFiles) : alive_(Pipe::make()) {
  // ssh-agent runs a command and ends with it; the command ends when our end of the pipe is closed.
  process_ = Child::fork([this]() -> std::string {
    alive_.write.reset();
    // The builder blocks the signals that end an agent, and a mask survives execve(2).
    sigset_t none;
    sigemptyset(&none);
    ::pthread_sigmask(SIG_SETMASK, &none, nullptr);
    if (::dup2(alive_.read.get(), 0) < 0) ::_exit(126);
    const std::string path = socket();
    std::array<const char*, 7> argv{"ssh-agent", "-a", path.c_str(),
                                    "sh",        "-c", "cat >/dev/null; kill $SSH_AGENT_PID",
                                    nullptr};
    ::execvp(argv[0], const_cast<char**>(argv.data()));
    if (errno != ENOENT) throw Error::fromErrno(errno, "run ssh-agent");
    throw Error{Kind::notFound, "keys for --ssh need ssh-agent, which is not installed"}.hint(
        "install the package openssh-client, or pass the socket of an agent");
  });
  alive_.read.reset();
  try {
    waitForSocket(socket(), process_);
    for (const std::string& path : keyFiles) addKey(path);
  } catch (...) {
    stop();
    throw;
  }
}

// The command ends the agent, which a killed command would leave to notice by itself some seconds
// later.
void OwnAgent::stop() {
  alive_.write.reset();
  pollfd poll{process_.pidfd(), POLLIN, 0};
  ::poll(&poll, 1, kStartMs);
}

OwnAgent::~OwnAgent() {
  stop();
}

// On standard input ssh-add does not mind who else may read the file.
void OwnAgent::addKey(const std::string& path) const {
  const std::string key = fs::readFile(AT_FDCWD, path, size_t{1} << 20);
  const Output output =
      runProgram({"env", "-u", "DISPLAY", "SSH_ASKPASS_REQUIRE=never", "SSH_AUTH_SOCK=" + socket(),
                  "setsid", "-w", "ssh-add", "-q", "-"},
                 key);
  if (output.status.code == 0) return;
  throw Error::make(Kind::failed, "--ssh: cannot use the key {}", text::quote(path))
      .why(std::string{text::trim(output.err)})
      .hint("keys with a passphrase are not read; add the key to an agent and pass its socket");
}

}  // namespace img::builder
