// hosts files: their texts, and how one follows the leases.
#include "network/names.h"

#include <gtest/gtest.h>
#include <poll.h>

#include "base/fs.h"
#include "base/sys.h"

namespace img::network {
namespace {

Ipv4 address(std::string_view text) {
  return Ipv4::parse(text).value();
}

constexpr char kLocal[] = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n";

TEST(HostsText, NamesTheContainerAtItsAddress) {
  EXPECT_EQ(hostsText({"web", "", address("10.89.0.2"), {}}),
            std::string{kLocal} + "10.89.0.2\tweb\n");
  EXPECT_EQ(hostsText({"web", "corp.example", address("10.89.0.2"), {}}),
            std::string{kLocal} + "10.89.0.2\tweb.corp.example web\n");
}

TEST(HostsText, NamesTheContainerOnLoopbackWithoutAnAddress) {
  EXPECT_EQ(hostsText({"web", "", {}, {{"db", "10.0.0.1"}}}),
            std::string{kLocal} + "127.0.0.1\tweb\n10.0.0.1\tdb\n");
}

TEST(HostsText, AddsToTheHostsOwn) {
  EXPECT_EQ(hostsText("1.2.3.4 host", {{"db", "10.0.0.1"}}), "1.2.3.4 host\n10.0.0.1\tdb\n");
}

TEST(Neighbours, AreReplacedBetweenTheirMarks) {
  const std::string one = neighboursText({{address("10.89.0.2"), "id", {"a", "b"}}});
  const std::string two = neighboursText({{address("10.89.0.3"), "id", {"c"}}});
  EXPECT_NE(one.find("10.89.0.2\ta b\n"), std::string::npos);
  EXPECT_EQ(replaceNeighbours("x\n" + one + "y\n", two), "x\n" + two + "y\n");
}

TEST(Neighbours, LeaveAFileWithoutMarksAlone) {
  EXPECT_FALSE(replaceNeighbours("127.0.0.1 localhost\n", neighboursText({})));
  const std::string half = neighboursText({{address("10.89.0.2"), "id", {"a"}}}).substr(0, 60);
  EXPECT_FALSE(replaceNeighbours(half, ""));
}

class LiveHostsTest : public testing::Test {
 protected:
  std::string text() { return fs::readFile(hosts_.fd(), "hosts"); }
  // Until the file has `wanted` or, with `isIn` false, has it no more.
  bool follows(LiveHosts& live, const std::string& wanted, bool isIn) {
    for (int tries = 0; tries < 100; ++tries) {
      if ((text().find(wanted) != std::string::npos) == isIn) return true;
      pollfd ready{live.fd(), POLLIN, 0};
      if (::poll(&ready, 1, 100) == 1) live.update();
    }
    return false;
  }
  LiveHosts make() {
    return LiveHosts{folder_.path().empty() ? Fd{} : sys::openDirectory(AT_FDCWD, folder_.path()),
                     subnet_, sys::openat(hosts_.fd(), "hosts", O_RDWR | O_CREAT, 0644), "mine\n"};
  }

  Subnet subnet_ = Subnet::parse("10.1.2.0/24").value();
  fs::TempDir folder_, hosts_;
  Leases leases_{folder_.fd(), subnet_};
};

TEST_F(LiveHostsTest, BeginsWithThoseThatAreThere) {
  const Lease own = leases_.take({{}, "1", {"own"}});
  const LiveHosts live = make();
  EXPECT_EQ(text().substr(0, 5), "mine\n");
  EXPECT_NE(text().find("10.1.2.2\town\n"), std::string::npos);
}

TEST_F(LiveHostsTest, FollowsThoseThatComeAndGo) {
  const Lease own = leases_.take({{}, "1", {"own"}});
  LiveHosts live = make();
  std::optional<Lease> other = leases_.take({{}, "2", {"other"}});
  EXPECT_TRUE(follows(live, "10.1.2.3\tother\n", true));
  other.reset();
  EXPECT_TRUE(follows(live, "other", false));
  EXPECT_NE(text().find("own"), std::string::npos);
}

TEST_F(LiveHostsTest, SeesAHolderThatIsKilled) {
  const Lease own = leases_.take({{}, "1", {"own"}});
  LiveHosts live = make();
  std::optional<Lease> other = leases_.take({{}, "2", {"other"}});
  EXPECT_TRUE(follows(live, "other", true));
  other->forget();  // the kernel does the same with what a killed process had open
  EXPECT_TRUE(follows(live, "other", false));
}

TEST_F(LiveHostsTest, KeepsWhatTheContainerAdded) {
  const Lease own = leases_.take({{}, "1", {"own"}});
  LiveHosts live = make();
  const Fd file = sys::openat(hosts_.fd(), "hosts", O_WRONLY | O_APPEND);
  writeAll(file.get(), "10.9.9.9 added\n", "hosts");
  const Lease other = leases_.take({{}, "2", {"other"}});
  EXPECT_TRUE(follows(live, "other", true));
  EXPECT_NE(text().find("10.9.9.9 added\n"), std::string::npos);
}

}  // namespace
}  // namespace img::network
