#include "builder/step_locks.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <csignal>

#include "base/fs.h"
#include "base/process.h"

namespace img::builder {
namespace {

class StepLocksTest : public testing::Test {
 protected:
  fs::TempDir temp_;
  store::Layout layout_ = store::Layout::open(temp_.path() + "/store");
  StepLocks locks_{layout_};
  const Digest key_ = Digest::of("a step");
};

TEST_F(StepLocksTest, OneHolderInThisProcess) {
  StepLock first = locks_.tryLock(key_);
  EXPECT_TRUE(first);
  EXPECT_FALSE(locks_.tryLock(key_));
  EXPECT_TRUE(locks_.tryLock(Digest::of("another step")));
  first = StepLock{};
  EXPECT_TRUE(locks_.tryLock(key_));
}

TEST_F(StepLocksTest, OneHolderAmongBuilds) {
  StepLocks other{layout_};  // a description of its own, as another process has
  StepLock lock = other.tryLock(key_);
  EXPECT_TRUE(lock);
  EXPECT_FALSE(locks_.tryLock(key_));
  lock = StepLock{};
  EXPECT_TRUE(locks_.tryLock(key_));
}

TEST_F(StepLocksTest, ALockMayOutliveWhoGaveIt) {
  StepLock lock;
  {
    StepLocks other{layout_};
    lock = other.tryLock(key_);
    EXPECT_TRUE(lock);
  }
  EXPECT_FALSE(locks_.tryLock(key_));
  lock = StepLock{};
  EXPECT_TRUE(locks_.tryLock(key_));
}

TEST_F(StepLocksTest, AForkedChildDoesNotKeepIt) {
  StepLock lock = locks_.tryLock(key_);
  const Pipe hold = Pipe::make();
  Child child = Child::fork([&] {
    char byte = 0;
    return std::string(::read(hold.read.get(), &byte, 1) == 1 ? "read" : "end");
  });
  lock = StepLock{};
  StepLocks other{layout_};
  EXPECT_TRUE(other.tryLock(key_));
  writeAll(hold.write.get(), "x", "pipe");
  EXPECT_EQ(child.finish(), "read");
}

TEST_F(StepLocksTest, ADeadProcessHoldsNothing) {
  const Pipe held = Pipe::make();
  Child child = Child::fork([&] {
    StepLocks own{layout_};
    const StepLock lock = own.tryLock(key_);
    writeAll(held.write.get(), lock ? "y" : "n", "pipe");
    ::pause();
    return std::string{};
  });
  char answer = 0;
  ASSERT_EQ(::read(held.read.get(), &answer, 1), 1);
  EXPECT_EQ(answer, 'y');
  EXPECT_FALSE(locks_.tryLock(key_));
  child.kill(SIGKILL);
  EXPECT_THROW(child.finish(), Error);
  EXPECT_TRUE(locks_.tryLock(key_));
}

}  // namespace
}  // namespace img::builder
