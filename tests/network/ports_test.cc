#include "network/ports.h"

#include <netinet/in.h>

#include "tests/network/host.h"

namespace img::network {
namespace {

class Ports : public HostNetwork {};

PortRequest tcp(std::string ip, std::uint16_t host, std::uint16_t container = 80) {
  return {std::move(ip), host, container, Protocol::tcp};
}

std::vector<std::string> namesOf(const std::vector<BoundPort>& ports) {
  std::vector<std::string> names;
  for (const BoundPort& port : ports) {
    names.push_back(fmt::format("{} {} {} {}", port.hostIp, port.hostPort, port.containerPort,
                                protocolName(port.protocol)));
  }
  return names;
}

using Names = std::vector<std::string>;

Error errorOf(const std::vector<PortRequest>& requests) {
  try {
    bindPorts(requests);
  } catch (const Error& error) {
    return error;
  }
  return Error{Kind::internal, "nothing was thrown"};
}

TEST_F(Ports, AreBoundOnBothFamiliesWhenNoAddressIsGiven) {
  EXPECT_EQ(namesOf(bindPorts({tcp("", 4000)})), (Names{"0.0.0.0 4000 80 tcp", ":: 4000 80 tcp"}));
}

TEST_F(Ports, AreBoundWhereTheyAreAskedFor) {
  EXPECT_EQ(namesOf(bindPorts({tcp("127.0.0.1", 4000), tcp("::1", 4001), tcp("::", 4002)})),
            (Names{"127.0.0.1 4000 80 tcp", "::1 4001 80 tcp", ":: 4002 80 tcp"}));
}

TEST_F(Ports, OfBothProtocolsDoNotDisturbEachOther) {
  const PortRequest udp{"127.0.0.1", 4000, 53, Protocol::udp};
  EXPECT_EQ(namesOf(bindPorts({tcp("127.0.0.1", 4000), udp})),
            (Names{"127.0.0.1 4000 80 tcp", "127.0.0.1 4000 53 udp"}));
}

TEST_F(Ports, ListenOrReceiveWithoutBlocking) {
  const PortRequest udp{"127.0.0.1", 4000, 53, Protocol::udp};
  for (const BoundPort& port : bindPorts({tcp("127.0.0.1", 4000), udp})) {
    int listens = -1;
    socklen_t size = sizeof listens;
    ::getsockopt(port.socket.get(), SOL_SOCKET, SO_ACCEPTCONN, &listens, &size);
    EXPECT_EQ(listens, port.protocol == Protocol::tcp ? 1 : 0);
    EXPECT_NE(::fcntl(port.socket.get(), F_GETFL) & O_NONBLOCK, 0);
    EXPECT_NE(::fcntl(port.socket.get(), F_GETFD) & FD_CLOEXEC, 0);
  }
}

TEST_F(Ports, ThatAreFreeAreTakenFrom32768Up) {
  const auto taken = bindPorts({tcp("127.0.0.1", 32769)});
  EXPECT_EQ(namesOf(bindPorts({tcp("", 0, 80), tcp("", 0, 81)})),
            (Names{"0.0.0.0 32768 80 tcp", ":: 32768 80 tcp", "0.0.0.0 32770 81 tcp",
                   ":: 32770 81 tcp"}));
}

TEST_F(Ports, ThatWePickAreNotThoseThatALaterRequestNames) {
  EXPECT_EQ(namesOf(bindPorts({tcp("127.0.0.1", 0), tcp("127.0.0.1", 32768)})),
            (Names{"127.0.0.1 32769 80 tcp", "127.0.0.1 32768 80 tcp"}));
}

TEST_F(Ports, ThatAreTakenAreAnErrorThatNamesTheHolder) {
  const auto holder = bindPorts({tcp("127.0.0.1", 4000)});
  const Error error = errorOf({tcp("127.0.0.1", 4001), tcp("", 4000)});
  EXPECT_EQ(error.kind(), Kind::busy);
  EXPECT_EQ(error.code(), "port-in-use");
  EXPECT_EQ(error.exitCode(), 125);
  EXPECT_EQ(error.cause(), "port 4000/tcp of the host is taken");
  EXPECT_NE(error.why().find(fmt::format("process {} (", ::getpid())), std::string::npos)
      << error.why();
}

TEST_F(Ports, LeaveNothingBoundAfterAnError) {
  const auto holder = bindPorts({tcp("127.0.0.1", 4000)});
  errorOf({tcp("127.0.0.1", 4001), tcp("127.0.0.1", 4000)});
  EXPECT_EQ(bindPorts({tcp("127.0.0.1", 4001)}).size(), 1U);
}

TEST_F(Ports, AreFreeAgainAsSoonAsTheirSocketIsClosed) {
  for (int i = 0; i < 2; ++i) {
    EXPECT_EQ(bindPorts({tcp("", 4000), {"", 4000, 53, Protocol::udp}}).size(), 4U);
  }
}

TEST_F(Ports, OfUdpBelongToOne) {
  const PortRequest udp{"127.0.0.1", 4000, 53, Protocol::udp};
  const auto holder = bindPorts({udp});
  const Error error = errorOf({udp});
  EXPECT_EQ(error.code(), "port-in-use");
  EXPECT_NE(error.why().find(std::to_string(::getpid())), std::string::npos) << error.why();
}

TEST_F(Ports, OfAnAddressThatIsNotOurs) {
  const Error error = errorOf({tcp("203.0.113.9", 4000)});
  EXPECT_EQ(error.kind(), Kind::notFound);
  EXPECT_EQ(error.cause(), "203.0.113.9 is no address of this host");
}

TEST_F(Ports, WithoutIpv6AreBoundOnIpv4Alone) {
  ASSERT_TRUE(trySetSysctl("ipv6/conf/all/disable_ipv6", "1"));
  // Explicitly asked for, there is nothing to fall back to.
  EXPECT_EQ(errorOf({tcp("::1", 4000)}).kind(), Kind::notFound);
  const auto ports = bindPorts({tcp("", 4000)});
  ASSERT_FALSE(ports.empty());
  EXPECT_EQ(ports.front().hostIp, "0.0.0.0");
}

TEST_F(Ports, ThatArePrivilegedNeedTheRight) {
  Child child = Child::fork([] {
    sys::check([] { return ::setresuid(65534, 65534, 65534); }, "setresuid");
    const Error error = errorOf({tcp("127.0.0.1", 80)});
    return fmt::format("{}|{}|{}", kindName(error.kind()), error.cause(),
                       error.hints().empty() ? "" : error.hints().front());
  });
  EXPECT_EQ(child.finish(),
            "denied|port 80/tcp of the host is not ours to take|"
            "use a higher one, as -p 8080:80, or lower that sysctl");
}

TEST(PortHolders, AreNobodyForAFreePort) {
  EXPECT_FALSE(findPortHolder(1, Protocol::udp));
}

TEST(SocketAddresses, AreReadFromText) {
  EXPECT_EQ(socketAddress("127.0.0.1", 80)->family(), AF_INET);
  EXPECT_EQ(socketAddress("::1", 80)->family(), AF_INET6);
  EXPECT_NE(
      reinterpret_cast<const sockaddr_in6*>(socketAddress("fe80::1%lo", 80)->get())->sin6_scope_id,
      0U);
  for (const char* bad : {"", "localhost", "1.2.3", "::g", "fe80::1%no-such-interface"}) {
    EXPECT_FALSE(socketAddress(bad, 80)) << bad;
  }
}

}  // namespace
}  // namespace img::network
