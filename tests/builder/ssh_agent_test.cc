#include "builder/ssh_agent.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cstring>
#include <thread>

#include "base/sys.h"
#include "tests/builder/support.h"

namespace img::builder {
namespace {

Fd socketAt(const std::string& path, bool isServer) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strncpy(address.sun_path, path.c_str(), sizeof address.sun_path - 1);
  Fd fd{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
  const auto* raw = reinterpret_cast<const sockaddr*>(&address);
  if (isServer) {
    EXPECT_EQ(::bind(fd.get(), raw, sizeof address), 0);
    EXPECT_EQ(::listen(fd.get(), 4), 0);
  } else {
    EXPECT_EQ(::connect(fd.get(), raw, sizeof address), 0) << path;
  }
  return fd;
}

std::string message(char type, const std::string& body = "") {
  std::string text(3, '\0');
  text += static_cast<char>(1 + body.size());
  text += type;
  return text + body;
}

std::string ask(const Fd& socket, const std::string& request) {
  writeAll(socket.get(), request, "request");
  std::string head(4, '\0');
  readFull(socket.get(), std::as_writable_bytes(std::span{head}), "answer");
  std::string body(static_cast<size_t>(head[3]), '\0');
  readFull(socket.get(), std::as_writable_bytes(std::span{body}), "answer");
  return body;
}

// An agent that answers every request with its type and "ok".
Child fakeAgent(const std::string& path) {
  Fd listener = socketAt(path, true);
  return Child::fork([&listener]() -> std::string {
    std::vector<std::jthread> clients;
    for (;;) {
      Fd accepted{::accept(listener.get(), nullptr, nullptr)};
      clients.emplace_back([client = std::move(accepted)] {
        for (char buffer[256]; ::read(client.get(), buffer, sizeof buffer) > 4;)
          writeAll(client.get(), message(buffer[4], "ok"), "answer");
      });
    }
  });
}

TEST(AgentRelay, PassesRequestsForKeysAndNoOthers) {
  fs::TempDir temp;
  const Child agent = fakeAgent(temp.path() + "/agent");
  const AgentRelay relay{temp.fd(), "relay", temp.path() + "/agent"};
  const Fd client = socketAt(temp.path() + "/relay", false);
  EXPECT_EQ(ask(client, message(11)), "\x0bok");
  EXPECT_EQ(ask(client, message(13, "data")), "\x0dok");
  EXPECT_EQ(ask(client, message(27, "session-bind")), "\x1bok");
  for (const char type : {'\x11', '\x12', '\x13', '\x16', '\x19'})
    EXPECT_EQ(ask(client, message(type)), "\x05");
  const Fd second = socketAt(temp.path() + "/relay", false);
  EXPECT_EQ(ask(second, message(11)), "\x0bok") << "several clients";
}

TEST(AgentRelay, ClosesTheConnectionForGarbage) {
  fs::TempDir temp;
  const Child agent = fakeAgent(temp.path() + "/agent");
  const AgentRelay relay{temp.fd(), "relay", temp.path() + "/agent"};
  const Fd client = socketAt(temp.path() + "/relay", false);
  writeAll(client.get(), std::string(64, '\xff'), "garbage");
  char byte = 0;
  EXPECT_LE(::read(client.get(), &byte, 1), 0);
}

TEST(OwnAgent, HoldsTheKeysAndEndsWithItsOwner) {
  ASSERT_EQ(runProgram({"sh", "-c", "command -v ssh-agent ssh-add ssh-keygen"}).status.code, 0)
      << "needs the package openssh-client";
  fs::TempDir temp;
  const std::string key = temp.path() + "/key";
  ASSERT_EQ(runProgram({"ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "note", "-f", key})
                .status.code,
            0);
  std::string socket;
  {
    const OwnAgent agent{{key}};
    socket = agent.socket();
    const std::string identities = ask(socketAt(socket, false), message(11));
    EXPECT_EQ(identities.front(), 12);
    EXPECT_NE(identities.find("note"), std::string::npos);
  }
  EXPECT_FALSE(sys::tryFstatat(AT_FDCWD, socket));
}

TEST(OwnAgent, RefusesWhatIsNoKey) {
  fs::TempDir temp;
  writeFile(temp.fd(), "bad", "no key\n");
  try {
    const OwnAgent agent{{temp.path() + "/bad"}};
    FAIL() << "nothing was thrown";
  } catch (const Error& error) {
    EXPECT_NE(error.cause().find("--ssh: cannot use the key"), std::string::npos);
  }
}

}  // namespace
}  // namespace img::builder
