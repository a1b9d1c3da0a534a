// Addresses are locks: taken, shared, freed by whatever end of their holder.
#include "network/leases.h"

#include <gtest/gtest.h>

#include <csignal>

#include "base/error.h"
#include "base/fs.h"
#include "base/process.h"
#include "base/sys.h"

namespace img::network {
namespace {

Ipv4 address(std::string_view text) {
  return Ipv4::parse(text).value();
}

Tenant tenant(const std::string& name) {
  return {{}, "id-of-" + name, {name}};
}

class LeasesTest : public testing::Test {
 protected:
  fs::TempDir temp_;
  Leases leases_{temp_.fd(), Subnet::parse("10.1.2.0/29").value()};  // .2 to .6
};

TEST_F(LeasesTest, TakesTheLowestFreeAddress) {
  const Lease first = leases_.take(tenant("a"));
  std::optional<Lease> second = leases_.take(tenant("b"));
  const Lease third = leases_.take(tenant("c"));
  EXPECT_EQ(first.address().str(), "10.1.2.2");
  EXPECT_EQ(third.address().str(), "10.1.2.4");
  second.reset();
  EXPECT_EQ(leases_.take(tenant("d")).address().str(), "10.1.2.3");
}

TEST_F(LeasesTest, SaysWhenNoneIsFree) {
  std::vector<Lease> all;
  for (int i = 0; i < 5; ++i) all.push_back(leases_.take(tenant("t")));
  try {
    leases_.take(tenant("late"));
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), "addresses");
    EXPECT_EQ(error.cause(), "no address is free in 10.1.2.0/29");
  }
  all.pop_back();
  EXPECT_EQ(leases_.take(tenant("late")).address().str(), "10.1.2.6");
}

TEST_F(LeasesTest, GivesAWantedAddressOnceAndNamesItsHolder) {
  const Lease held = leases_.takeAddress(address("10.1.2.5"), tenant("web"));
  try {
    leases_.takeAddress(address("10.1.2.5"), tenant("other"));
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), Kind::busy);
    EXPECT_EQ(error.why(), "container \"web\" has it");
  }
}

TEST_F(LeasesTest, RefusesAddressesThatAreNoContainers) {
  for (const char* text : {"10.1.2.0", "10.1.2.1", "10.1.2.7", "10.1.3.2"}) {
    EXPECT_THROW(leases_.takeAddress(address(text), tenant("t")), Error) << text;
  }
}

TEST_F(LeasesTest, ListsThoseThatLiveWithTheirNames) {
  const Lease held = leases_.take({{}, "id1", {"web", "id1short", "alias"}});
  { const Lease gone = leases_.take(tenant("gone")); }
  const std::vector<Tenant> list = leases_.list();
  ASSERT_EQ(list.size(), 1U);
  EXPECT_EQ(list[0].address.str(), "10.1.2.2");
  EXPECT_EQ(list[0].id, "id1");
  EXPECT_EQ(list[0].names, (std::vector<std::string>{"web", "id1short", "alias"}));
}

TEST_F(LeasesTest, PassesOnNoNameThatWouldBreakAHostsFile) {
  const Lease held = leases_.take({{}, "id1", {"fine", "two words", "10.0.0.1\tbank", "#x", ""}});
  EXPECT_EQ(leases_.list().at(0).names, (std::vector<std::string>{"fine"}));
}

TEST_F(LeasesTest, FreesTheAddressOfAKilledHolder) {
  Pipe ready = Pipe::make();
  const pid_t pid = ::fork();
  if (pid == 0) {
    const Lease held = leases_.take(tenant("killed"));
    writeAll(ready.write.get(), "x", "ready");
    for (;;) ::pause();
  }
  ready.write.reset();
  char byte = 0;
  ASSERT_EQ(::read(ready.read.get(), &byte, 1), 1);
  EXPECT_EQ(leases_.list().size(), 1U);
  ::kill(pid, SIGKILL);
  waitFor(pid);
  EXPECT_TRUE(leases_.list().empty());
  EXPECT_EQ(leases_.take(tenant("next")).address().str(), "10.1.2.2");
}

TEST_F(LeasesTest, KeepsASharedAddressUntilTheLastOneGoes) {
  std::optional<Lease> owner = leases_.take(tenant("owner"));
  std::optional<Lease> second = leases_.share(owner->address());
  ASSERT_TRUE(second);
  owner.reset();
  EXPECT_EQ(leases_.list().size(), 1U);
  EXPECT_THROW(leases_.takeAddress(second->address(), tenant("x")), Error);
  second.reset();
  EXPECT_TRUE(leases_.list().empty());
  EXPECT_FALSE(leases_.share(address("10.1.2.2"))) << "nobody has it";
}

TEST_F(LeasesTest, ChangesHandsByForkWithoutAGap) {
  std::optional<Lease> held = leases_.take(tenant("c"));
  Child carrier = Child::fork([&] {
    for (;;) ::pause();
    return std::string{};
  });
  held->forget();
  held.reset();
  EXPECT_EQ(leases_.list().size(), 1U);
  EXPECT_EQ(leases_.list()[0].names, (std::vector<std::string>{"c"})) << "the names stay";
  carrier.kill(SIGKILL);
  EXPECT_THROW(carrier.finish(), Error);
  EXPECT_TRUE(leases_.list().empty());
}

TEST_F(LeasesTest, GivesProcessesAtTheSameTimeDifferentAddresses) {
  Pipe taken = Pipe::make();
  Pipe all = Pipe::make();
  std::vector<Child> children;
  for (int i = 0; i < 5; ++i) {
    children.push_back(Child::fork([&] {
      all.write.reset();
      const Lease held = leases_.take(tenant("p"));
      writeAll(taken.write.get(), "x", "taken");
      readAll(all.read.get(), "all");  // its end comes when all five have one
      return held.address().str();
    }));
  }
  std::byte five[5];
  ASSERT_EQ(readFull(taken.read.get(), five, "taken"), sizeof five);
  all.write.reset();
  std::vector<std::string> got;
  for (Child& child : children) got.push_back(child.finish());
  std::sort(got.begin(), got.end());
  EXPECT_EQ(got,
            (std::vector<std::string>{"10.1.2.2", "10.1.2.3", "10.1.2.4", "10.1.2.5", "10.1.2.6"}));
}

TEST_F(LeasesTest, TakesNewNamesOfOneThatLives) {
  const Lease held = leases_.take(tenant("before"));
  Tenant renamed = leases_.list().at(0);
  renamed.names = {"after"};
  leases_.rename(renamed);
  EXPECT_EQ(leases_.list().at(0).names, (std::vector<std::string>{"after"}));
}

TEST_F(LeasesTest, GivesTheNextTenantOfAnAddressNoNamesOfTheOneBefore) {
  std::optional<Lease> before = leases_.take(tenant("before"));
  Tenant renamed = leases_.list().at(0);
  before.reset();
  const Lease next = leases_.take(tenant("next"));
  ASSERT_EQ(next.address(), renamed.address);
  renamed.names = {"after"};
  leases_.rename(renamed);
  EXPECT_EQ(leases_.list().at(0).names, (std::vector<std::string>{"next"}));
}

}  // namespace
}  // namespace img::network
