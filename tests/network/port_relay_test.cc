#include "network/port_relay.h"

#include <poll.h>
#include <sys/resource.h>

#include <csignal>

#include "base/text.h"
#include "tests/network/host.h"
#include "tests/network/inside.h"

namespace img::network {
namespace {

constexpr std::uint16_t kHost = 4000;

class Relay : public HostNetwork {
 protected:
  void publish(std::uint16_t containerPort, Protocol protocol = Protocol::tcp,
               const std::string& insideAddress = "") {
    inside_.emplace(insideAddress);
    relay_ = started(containerPort, protocol, inside_->pid(), insideAddress);
  }

  static PortRelay started(std::uint16_t containerPort, Protocol protocol, pid_t container,
                           const std::string& address = "") {
    const Fd netns = openNamespace(container);
    return PortRelay::start(bindPorts({{"", kHost, containerPort, protocol}}),
                            {netns.get(), container, address});
  }

  static std::string statusLine(pid_t pid, const std::string& key) {
    const std::string status = fs::readFile(AT_FDCWD, fmt::format("/proc/{}/status", pid));
    for (const std::string& line : text::split(status, '\n')) {
      if (line.starts_with(key + ":"))
        return std::string{text::trim(std::string_view{line}.substr(key.size() + 1))};
    }
    return "";
  }

  std::optional<Inside> inside_;
  PortRelay relay_;
};

std::string echoed(const std::string& ip, const std::string& text) {
  const Fd client = connectTo(ip, kHost);
  sendText(client, text);
  endSending(client);
  return receiveAll(client);
}

TEST_F(Relay, ReachesTheServiceFromBothFamilies) {
  publish(kEcho);
  EXPECT_EQ(echoed("127.0.0.1", "four"), "four");
  EXPECT_EQ(echoed("::1", "six"), "six");
}

TEST_F(Relay, ConnectsToTheContainersOwnAddress) {
  publish(kPeer, Protocol::tcp, "10.1.2.3");
  EXPECT_EQ(receiveAll(connectTo("127.0.0.1", kHost)), "10.1.2.3");
}

TEST_F(Relay, FindsTheAddressOfAnInterfaceByItself) {
  inside_.emplace("10.1.2.4");
  relay_ = started(kPeer, Protocol::tcp, inside_->pid());
  EXPECT_EQ(receiveAll(connectTo("127.0.0.1", kHost)), "10.1.2.4");
}

TEST_F(Relay, PassesTheEndOfOneDirectionOnAlone) {
  publish(kCount);
  const Fd client = connectTo("127.0.0.1", kHost);
  sendText(client, std::string(300'000, 'x'));
  endSending(client);  // only now does the service answer
  EXPECT_EQ(receiveAll(client), "300000");
}

TEST_F(Relay, CarriesMuchDataUnchanged) {
  publish(kSource);
  const size_t size = size_t{24} << 20;
  const Fd client = connectTo("127.0.0.1", kHost);
  sendText(client, std::to_string(size) + "\n");
  const std::string got = receiveAll(client);
  ASSERT_EQ(got.size(), size);
  size_t wrong = 0;
  for (size_t i = 0; i < size; ++i) wrong += got[i] == patternAt(i) ? 0 : 1;
  EXPECT_EQ(wrong, 0U);
}

TEST_F(Relay, CarriesBothDirectionsAtOnce) {
  publish(kEcho);
  const size_t size = size_t{16} << 20;
  const std::string sent(size, 'q');
  const Fd client = connectTo("127.0.0.1", kHost);
  Child writer = Child::fork([&] {
    sendText(client, sent);
    endSending(client);
    return std::string{};
  });
  EXPECT_EQ(receiveAll(client) == sent, true);
  writer.finish();
}

TEST_F(Relay, AReaderThatIsSlowGetsEverythingAndCostsNoMemory) {
  publish(kSource);
  const size_t size = size_t{64} << 20;
  const auto memoryKb = [&] { return std::stol(statusLine(relay_.pid(), "RssAnon")); };
  const long before = memoryKb();
  const Fd client = connectTo("127.0.0.1", kHost);
  sendText(client, std::to_string(size) + "\n");
  const std::string first = receiveSome(client, 1);
  // All buffers fill up now; another connection shows that the relay is not held up by this one.
  const Fd other = connectTo("127.0.0.1", kHost);
  sendText(other, "1000000\n");
  EXPECT_EQ(receiveAll(other).size(), 1'000'000U);
  EXPECT_LT(memoryKb(), before + 1024);
  EXPECT_EQ(receiveAll(client).size(), size - first.size());
}

TEST_F(Relay, ARefusedConnectionInsideIsResetOutside) {
  publish(kNobody);
  const Fd client = connectTo("127.0.0.1", kHost);
  EXPECT_EQ(receiveAll(client), "broken: ECONNRESET");
}

TEST_F(Relay, PassesAResetOn) {
  publish(kReset);
  const Fd client = connectTo("127.0.0.1", kHost);
  sendText(client, "x");
  EXPECT_EQ(receiveAll(client), "broken: ECONNRESET");
}

TEST_F(Relay, ServesManyConnectionsAtOnce) {
  publish(kEcho);
  std::vector<Fd> clients;
  for (int i = 0; i < 800; ++i) {
    clients.push_back(connectTo("127.0.0.1", kHost));
    sendText(clients.back(), fmt::format("{:04}", i));
  }
  for (size_t i = 0; i < clients.size(); ++i) {
    EXPECT_EQ(receiveSome(clients[i], 4), fmt::format("{:04}", i));
  }
}

TEST_F(Relay, BeyondTheLimitOfDescriptorsConnectionsWaitForTheirTurn) {
  inside_.emplace();
  Child keeper = Child::fork([&] {
    const rlimit low{64, 64};
    ::setrlimit(RLIMIT_NOFILE, &low);
    const PortRelay relay = started(kEcho, Protocol::tcp, inside_->pid());
    std::vector<Fd> clients;
    for (int i = 0; i < 30; ++i) {
      clients.push_back(connectTo("127.0.0.1", kHost));
      sendText(clients.back(), "x");
    }
    int served = 0;
    for (const Fd& client : clients) {
      pollfd ready{client.get(), POLLIN, 0};
      // The first ones are answered at once; a later one only when one of them has gone.
      if (served < 10 && ::poll(&ready, 1, 10'000) == 1) ++served;
    }
    clients.erase(clients.begin(), clients.begin() + 20);
    int later = 0;
    for (const Fd& client : clients) later += receiveSome(client, 1) == "x" ? 1 : 0;
    return fmt::format("{} {}", served, later);
  });
  EXPECT_EQ(keeper.finish(), "10 10");
}

TEST_F(Relay, RunsWithoutRights) {
  publish(kEcho);
  const pid_t pid = relay_.pid();
  EXPECT_EQ(statusLine(pid, "Name"), "img-port-relay");
  EXPECT_EQ(statusLine(pid, "Uid"), "65534\t65534\t65534\t65534");
  EXPECT_EQ(statusLine(pid, "Gid"), "65534\t65534\t65534\t65534");
  EXPECT_EQ(statusLine(pid, "Groups"), "");
  for (const char* set : {"CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"}) {
    EXPECT_EQ(statusLine(pid, set), "0000000000000000") << set;
  }
  EXPECT_EQ(statusLine(pid, "NoNewPrivs"), "1");
  const auto namespaceOf = [](pid_t process) {
    return sys::readlinkat(AT_FDCWD, fmt::format("/proc/{}/ns/net", process));
  };
  EXPECT_EQ(namespaceOf(pid), namespaceOf(inside_->pid()));
}

TEST_F(Relay, KeepsNothingOfItsKeeperOpen) {
  const Pipe pipe = Pipe::make();
  publish(kEcho);
  const std::string folder = fmt::format("/proc/{}/fd", relay_.pid());
  for (const fs::Entry& entry : fs::list(sys::openDirectory(AT_FDCWD, folder).get())) {
    const std::string target = sys::readlinkat(AT_FDCWD, folder + "/" + entry.name);
    const bool isExpected = target == "/dev/null" || target == "anon_inode:[eventpoll]" ||
                            target.starts_with("socket:") || target.starts_with("pipe:");
    EXPECT_TRUE(isExpected) << target;
    EXPECT_NE(target, sys::readlinkat(AT_FDCWD, sys::procPath(pipe.read.get())));
  }
}

TEST_F(Relay, EndsAndFreesThePortWhenItIsLetGo) {
  publish(kEcho);
  relay_ = PortRelay{};
  EXPECT_EQ(bindPorts({{"", kHost, 80, Protocol::tcp}}).size(), 2U);
}

TEST_F(Relay, EndsWithAKeeperThatIsKilled) {
  inside_.emplace();
  Pipe report = Pipe::make();
  Child keeper = Child::fork([&]() -> std::string {
    const PortRelay relay = started(kEcho, Protocol::tcp, inside_->pid());
    writeAll(report.write.get(), std::to_string(relay.pid()) + "\n", "report");
    for (;;) ::pause();
  });
  char text[16] = {};
  ASSERT_GT(::read(report.read.get(), text, sizeof text - 1), 0);
  const Fd relay = sys::pidfdOpen(std::stoi(text));
  keeper.kill(SIGKILL);
  pollfd ended{relay.get(), POLLIN, 0};
  EXPECT_EQ(::poll(&ended, 1, 10'000), 1);
  EXPECT_EQ(bindPorts({{"", kHost, 80, Protocol::tcp}}).size(), 2U);
}

TEST_F(Relay, IgnoresTheSignalsThatAreMeantForTheContainer) {
  publish(kEcho);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGQUIT}) ::kill(relay_.pid(), signal);
  EXPECT_EQ(echoed("127.0.0.1", "still here"), "still here");
}

TEST_F(Relay, ReportsWhatIsNoNetworkAndFreesThePort) {
  const Fd null = sys::openat(AT_FDCWD, "/dev/null", O_RDONLY);
  try {
    const PortRelay relay =
        PortRelay::start(bindPorts({{"", kHost, 80, Protocol::tcp}}), {null.get(), ::getpid(), ""});
    ADD_FAILURE() << "started";
  } catch (const Error& error) {
    EXPECT_TRUE(error.cause().starts_with("join the network of the container")) << error.cause();
    EXPECT_EQ(error.exitCode(), 125);
  }
  EXPECT_EQ(bindPorts({{"", kHost, 80, Protocol::tcp}}).size(), 2U);
}

// --- datagrams ---

class UdpRelayed : public Relay {
 protected:
  static Fd client(const std::string& ip, const std::string& from = "") {
    const SocketAddress address = *socketAddress(ip, kHost);
    Fd socket{::socket(address.family(), SOCK_DGRAM | SOCK_CLOEXEC, 0)};
    const timeval limit{20, 0};
    ::setsockopt(socket.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    if (!from.empty()) {
      const SocketAddress own = *socketAddress(from, 0);
      sys::check([&] { return ::bind(socket.get(), own.get(), own.size); }, "bind");
    }
    // A connected socket takes answers from the address that it asked only.
    sys::check([&] { return ::connect(socket.get(), address.get(), address.size); }, "connect");
    return socket;
  }
  static std::string ask(const Fd& socket, const std::string& text) {
    if (::send(socket.get(), text.data(), text.size(), 0) < 0) return "not sent";
    // Without MSG_WAITALL: an answer is one datagram.
    std::string answer(70'000, '\0');
    const ssize_t count = ::recv(socket.get(), answer.data(), answer.size(), 0);
    return count < 0 ? "no answer" : answer.substr(0, static_cast<size_t>(count));
  }
};

TEST_F(UdpRelayed, ReachesTheServiceFromBothFamilies) {
  publish(kEcho, Protocol::udp);
  EXPECT_EQ(ask(client("127.0.0.1"), "four"), "re: four");
  EXPECT_EQ(ask(client("::1"), "six"), "re: six");
  EXPECT_EQ(ask(client("127.0.0.1"), ""), "re: ");
  EXPECT_EQ(ask(client("127.0.0.1"), std::string(60'000, 'x')).size(), 60'004U);
}

TEST_F(UdpRelayed, AnswersFromTheAddressThatWasAsked) {
  publish(kEcho, Protocol::udp);
  // All of 127/8 is ours; without care the answer would come from 127.0.0.1.
  EXPECT_EQ(ask(client("127.0.0.9", "127.0.0.1"), "x"), "re: x");
}

TEST_F(UdpRelayed, KeepsClientsApart) {
  publish(kEcho, Protocol::udp);
  std::vector<Fd> clients;
  for (int i = 0; i < 50; ++i) clients.push_back(client("127.0.0.1"));
  for (size_t i = 0; i < clients.size(); ++i) sendText(clients[i], std::to_string(i));
  for (size_t i = 0; i < clients.size(); ++i) {
    EXPECT_EQ(receiveSome(clients[i], 100), "re: " + std::to_string(i));
  }
}

TEST_F(UdpRelayed, NobodyInsideIsNoTroubleForTheNextOne) {
  publish(kNobody, Protocol::udp);
  const Fd lost = client("127.0.0.1");
  for (int i = 0; i < 3; ++i) sendText(lost, "x");
  EXPECT_EQ(sys::tryFstatat(AT_FDCWD, fmt::format("/proc/{}/fd", relay_.pid())).has_value(), true);
}

}  // namespace
}  // namespace img::network
