#include "store/lease.h"

#include <gtest/gtest.h>

#include <csignal>

#include "base/lock.h"
#include "base/process.h"
#include "tests/store/store_fixture.h"

namespace img::store {
namespace {

class LeaseTest : public test::StoreTest {
 protected:
  std::set<Digest> leased() { return readLeases(layout); }
  size_t leaseCount() {
    const auto leases = sys::tryOpenat(layout.fd(), "leases", O_RDONLY | O_DIRECTORY);
    return leases ? fs::list(leases->get()).size() : 0;
  }
  const Digest a = Digest::of("a"), b = Digest::of("b");
};

TEST_F(LeaseTest, ListsWhatItsOwnerFoundOrMade) {
  const StoreUse use{layout};
  const Digest made = putBlob(layout, "{}", media::kConfig).digest;
  EXPECT_FALSE(hasBlob(layout, a));
  EXPECT_EQ(leased(), (std::set{made, a}));
}

TEST_F(LeaseTest, ComesAndGoesWithItsOwner) {
  {
    const StoreUse use{layout};
    EXPECT_EQ(leaseCount(), 1U);
    pin(layout, a);
    EXPECT_EQ(leaseCount(), 1U);
  }
  EXPECT_EQ(leaseCount(), 0U);
}

TEST_F(LeaseTest, OneInsideAnotherIsPartOfIt) {
  const StoreUse outer{layout};
  {
    const StoreUse inner{layout};
    pin(layout, a);
  }
  EXPECT_EQ(leased(), std::set{a});
  EXPECT_EQ(leaseCount(), 1U);
}

TEST_F(LeaseTest, WritesADigestOnce) {
  const StoreUse use{layout};
  pin(layout, a);
  pin(layout, a, b);
  const Fd leases = sys::openDirectory(layout.fd(), "leases");
  const std::string text = fs::readFile(leases.get(), fs::list(leases.get()).front().name);
  EXPECT_EQ(text, a.hex() + "\n" + b.hex() + "\n");
}

TEST_F(LeaseTest, WithoutAUseNothingIsPinned) {
  pin(layout, a);
  EXPECT_EQ(leaseCount(), 0U);
}

TEST_F(LeaseTest, ForkedChildrenPinForTheirParentAndDoNotEndIt) {
  const StoreUse use{layout};
  pin(layout, a);
  Child::fork([&] {
    const StoreUse nested{layout};
    pin(layout, b);
    return std::string{};
  }).finish();
  EXPECT_EQ(leased(), (std::set{a, b}));
}

// A build FROM scratch makes its first blob in a child.
TEST_F(LeaseTest, WhatAChildPinsFirstOutlivesTheChild) {
  const StoreUse use{layout};
  Child::fork([&] {
    pin(layout, b);
    return std::string{};
  }).finish();
  EXPECT_EQ(leased(), std::set{b});
}

TEST_F(LeaseTest, OfAKilledOwnerIsRemovedByTheNextOneThatLooks) {
  const auto killed = [&] {
    Child child = Child::fork([&] {
      const StoreUse use{layout};
      pin(layout, a);
      ::raise(SIGKILL);
      return std::string{};
    });
    EXPECT_THROW(child.finish(), Error);
    EXPECT_EQ(leaseCount(), 1U);
  };
  killed();
  EXPECT_TRUE(leased().empty());
  EXPECT_EQ(leaseCount(), 0U);
  killed();
  layout.recover();
  EXPECT_EQ(leaseCount(), 0U);
}

TEST_F(LeaseTest, OfALivingOwnerSurvivesRecovery) {
  const StoreUse use{layout};
  pin(layout, a);
  layout.recover();
  EXPECT_EQ(leased(), std::set{a});
}

// The window between "it is there" and "it stays": a process that asks while a collection is at
// work gets its answer after it.
TEST_F(LeaseTest, WhoAsksDuringACollectionHearsWhatIsThereAfterIt) {
  const Digest digest = putBlob(layout, "content", media::kLayer).digest;
  std::optional<FileLock> gc =
      FileLock::acquire(layout.fd(), "locks/gc", FileLock::Mode::exclusive);
  Child child = Child::fork([&] {
    gc.reset();  // its copy of the descriptor; the parent's keeps the lock
    const StoreUse use{layout};
    return std::string{hasBlob(layout, digest) ? "there" : "gone"};
  });
  sys::unlinkat(layout.fd(), layout.blobPath(digest), 0);
  gc.reset();
  EXPECT_EQ(child.finish(), "gone");
}

TEST_F(LeaseTest, ALockOfAPinDoesNotStopAnotherPin) {
  const FileLock other = FileLock::acquire(layout.fd(), "locks/gc", FileLock::Mode::shared);
  const StoreUse use{layout};
  pin(layout, a);
  EXPECT_EQ(leased(), std::set{a});
}

}  // namespace
}  // namespace img::store
