#include "base/lock.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <csignal>

#include "base/fs.h"
#include "base/lock_wait.h"
#include "base/process.h"
#include "base/sys.h"

namespace img {
namespace {

using Mode = FileLock::Mode;

// Asks from another process, which is what locks are for.
bool canLock(int dir, Mode mode) {
  return Child::fork([&] {
           return std::string{FileLock::tryAcquire(dir, "lock", mode) ? "yes" : "no"};
         }).finish() == "yes";
}

TEST(FileLock, SharedHoldersKeepOutOnlyTheExclusiveOne) {
  const fs::TempDir dir;
  const FileLock lock = FileLock::acquire(dir.fd(), "lock", Mode::shared);
  EXPECT_TRUE(canLock(dir.fd(), Mode::shared));
  EXPECT_FALSE(canLock(dir.fd(), Mode::exclusive));
}

TEST(FileLock, AnExclusiveHolderKeepsOutEverybody) {
  const fs::TempDir dir;
  const FileLock lock = FileLock::acquire(dir.fd(), "lock", Mode::exclusive);
  EXPECT_FALSE(canLock(dir.fd(), Mode::shared));
  EXPECT_FALSE(canLock(dir.fd(), Mode::exclusive));
}

TEST(FileLock, IsFreeAfterItsHolderAndItsFileStays) {
  const fs::TempDir dir;
  { const FileLock lock = FileLock::acquire(dir.fd(), "lock", Mode::exclusive); }
  EXPECT_TRUE(canLock(dir.fd(), Mode::exclusive));
  EXPECT_EQ(sys::fstatat(dir.fd(), "lock").st_mode & 07777, 0600U);
}

TEST(FileLock, AMovedLockIsHeldOnce) {
  const fs::TempDir dir;
  FileLock first = FileLock::acquire(dir.fd(), "lock", Mode::exclusive);
  {
    const FileLock second{std::move(first)};
    EXPECT_FALSE(canLock(dir.fd(), Mode::shared));
  }
  EXPECT_TRUE(canLock(dir.fd(), Mode::exclusive));
}

TEST(FileLock, WhoWaitsTooLongIsToldWhoHasIt) {
  const fs::TempDir dir;
  const FileLock lock = FileLock::acquire(dir.fd(), "lock", Mode::exclusive);
  const auto refused = [&] {
    setLockTimeout(0);
    try {
      const FileLock second = FileLock::acquire(dir.fd(), "lock", Mode::shared);
    } catch (const Error& error) {
      return error.code() + ": " + error.cause();
    }
    return std::string{"it came"};
  };
  const std::string said = Child::fork(refused).finish();
  EXPECT_TRUE(said.starts_with(fmt::format("locked: process {} (", ::getpid()))) << said;
  EXPECT_TRUE(said.ends_with(" has locked lock")) << said;
}

TEST(FileLock, OfSomebodyWhoCannotBeFoundAnotherProcessHasIt) {
  const fs::TempDir dir;
  const Fd file = sys::openat(dir.fd(), "free", O_RDWR | O_CREAT, 0600);
  EXPECT_EQ(lockHolder(file.get()), "another process");
}

TEST(FileLock, IsFreedByTheDeathOfItsHolder) {
  const fs::TempDir dir;
  Pipe ready = Pipe::make();
  Child holder = Child::fork([&] {
    const FileLock lock = FileLock::acquire(dir.fd(), "lock", Mode::exclusive);
    writeAll(ready.write.get(), "+", "pipe");
    for (;;) ::pause();
    return std::string{};
  });
  ready.write.reset();
  std::byte byte{};
  ASSERT_EQ(readFull(ready.read.get(), std::span{&byte, 1}, "pipe"), 1U);
  EXPECT_FALSE(canLock(dir.fd(), Mode::shared));
  holder.kill(SIGKILL);
  EXPECT_THROW(holder.finish(), Error);
  EXPECT_TRUE(canLock(dir.fd(), Mode::exclusive));
}

TEST(FileLock, AcquireWaitsUntilTheHolderIsDone) {
  const fs::TempDir dir;
  Pipe ready = Pipe::make();
  Pipe go = Pipe::make();
  Child holder = Child::fork([&] {
    go.write.reset();
    const FileLock lock = FileLock::acquire(dir.fd(), "lock", Mode::exclusive);
    writeAll(ready.write.get(), "+", "pipe");
    readAll(go.read.get(), "pipe");
    fs::replaceFile(dir.fd(), "done", "", 0600, fs::Sync::none);
    return std::string{};
  });
  std::byte byte{};
  ASSERT_EQ(readFull(ready.read.get(), std::span{&byte, 1}, "pipe"), 1U);
  go.write.reset();
  const FileLock lock = FileLock::acquire(dir.fd(), "lock", Mode::shared);
  EXPECT_TRUE(sys::tryFstatat(dir.fd(), "done")) << "the lock came before the holder was done";
  holder.finish();
}

TEST(FileLock, InAMissingFolderIsAnError) {
  const fs::TempDir dir;
  EXPECT_THROW((void)FileLock::acquire(dir.fd(), "missing/lock", Mode::shared), Error);
  EXPECT_THROW((void)FileLock::tryAcquire(dir.fd(), "missing/lock", Mode::shared), Error);
}

}  // namespace
}  // namespace img
