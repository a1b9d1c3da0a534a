#include "store/remover.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <string>

#include "base/interruption.h"
#include "base/sys.h"
#include "store/layout.h"
#include "tests/store/store_fixture.h"

namespace img::store {
namespace {

constexpr int kMany = 1500, kFew = 20;

void fill(int dir, int files) {
  const Fd folder = fs::makeDirs(dir, "fs/deep/er");
  sys::openat(folder.get(), "0", O_WRONLY | O_CREAT | O_EXCL, 0600);
  for (int i = 1; i < files; ++i)  // cheaper than inodes
    sys::linkat(folder.get(), "0", folder.get(), std::to_string(i), 0);
}

// The process that removes is killed as soon as it begins.
class KilledRemover {
 public:
  KilledRemover() { ::setenv("IMG_FAILPOINT", "remover.begun", 1); }
  KilledRemover(const KilledRemover&) = delete;
  KilledRemover& operator=(const KilledRemover&) = delete;
  ~KilledRemover() { ::unsetenv("IMG_FAILPOINT"); }
};

class Remover : public testing::Test {
 protected:
  // What a killed command leaves: nobody holds its lock.
  void leave(const std::string& name, int files) {
    sys::mkdirat(layout_.ingest(), name, 0700);
    fill(sys::openDirectory(layout_.ingest(), name).get(), files);
  }
  [[nodiscard]] bool isThere(const std::string& name) const {
    return sys::tryFstatat(layout_.ingest(), name).has_value();
  }
  // Until who removes it has ended, one way or the other.
  void waitForLock(const std::string& name) const {
    const auto fd = sys::tryOpenat(layout_.ingest(), name, O_RDONLY | O_DIRECTORY);
    if (!fd) return;
    ASSERT_EQ(::flock(fd->get(), LOCK_EX), 0);
  }

  // The process that has the folder of our tree open as its input.
  void wakeRemover() const {
    const std::string ours = layout_.root() + "/ingest";
    for (const fs::Entry& entry : fs::list(sys::openDirectory(AT_FDCWD, "/proc").get())) {
      char target[4096];
      const ssize_t size =
          ::readlink(("/proc/" + entry.name + "/fd/0").c_str(), target, sizeof target);
      if (size > 0 && std::string(target, static_cast<size_t>(size)) == ours && isPid(entry.name))
        ::kill(std::stoi(entry.name), SIGCONT);
    }
  }
  static bool isPid(const std::string& name) {
    return name.find_first_not_of("0123456789") == std::string::npos;
  }

  const fs::TempDir dir_;
  const Layout layout_ = Layout::open(dir_.path() + "/store");
};

TEST_F(Remover, RemovesASmallTreeAtOnce) {
  const KilledRemover nobody;
  leave("small", kFew);
  layout_.recover();
  EXPECT_FALSE(isThere("small"));
}

TEST_F(Remover, LeavesALargeTreeToAProcessOfItsOwn) {
  leave("large", kMany);
  layout_.recover();
  waitForLock("large");
  EXPECT_FALSE(isThere("large"));
}

TEST_F(Remover, LeavesALargeTreeInTheTrashToThatProcessAsWell) {
  sys::mkdirat(layout_.fd(), "trash/large", 0700);
  fill(sys::openDirectory(layout_.fd(), "trash/large").get(), kMany);
  layout_.recover();
  if (const auto fd = sys::tryOpenat(layout_.fd(), "trash/large", O_RDONLY | O_DIRECTORY)) {
    ASSERT_EQ(::flock(fd->get(), LOCK_EX), 0);
  }
  EXPECT_FALSE(sys::tryFstatat(layout_.fd(), "trash/large"));
}

TEST_F(Remover, WhatAKilledOneLeavesGoesWithTheNextRecovery) {
  leave("large", kMany);
  {
    const KilledRemover killed;
    layout_.recover();
    waitForLock("large");
  }
  EXPECT_TRUE(isThere("large"));  // and not removed by us
  layout_.recover();
  waitForLock("large");
  EXPECT_FALSE(isThere("large"));
}

TEST_F(Remover, ATreeThatIsBeingRemovedIsNobodysLitter) {
  leave("large", kMany);
  const Fd taken = sys::openDirectory(layout_.ingest(), "large");
  ASSERT_TRUE(sys::tryFlock(taken.get(), true));
  layout_.recover();
  EXPECT_TRUE(isThere("large"));
}

TEST_F(Remover, HoldsNothingThatTheCommandHadOpen) {
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);  // without O_CLOEXEC, as the output of a command
  Fd reader{ends[0]}, writer{ends[1]};
  leave("large", kMany);
  ::setenv("IMG_FAILPOINT", "remover.begun:stop", 1);
  layout_.recover();
  ::unsetenv("IMG_FAILPOINT");
  writer.reset();
  char byte = 0;
  EXPECT_EQ(::read(reader.get(), &byte, 1), 0);  // would wait for the remover, which is stopped
  const auto fd = sys::openat(layout_.ingest(), "large", O_RDONLY | O_DIRECTORY);
  EXPECT_FALSE(sys::tryFlock(fd.get(), true));  // it has the lock
  // It may not have come to its stop yet when it is told to go on.
  while (isThere("large") && !sys::tryFlock(fd.get(), true)) wakeRemover();
  EXPECT_FALSE(isThere("large"));
}

TEST_F(Remover, AnInterruptedCommandLeavesItsLargeTreeBehindAndTheNextOneRemovesIt) {
  std::string name;
  {
    const InterruptionScope scope;
    const KilledRemover killed;
    const IngestDir work{layout_};
    name = work.name();
    fill(work.fd(), kMany);
    ::raise(SIGTERM);
    EXPECT_THROW(throwIfInterrupted(), Error);
  }
  waitForLock(name);
  EXPECT_TRUE(isThere(name));
  layout_.recover();
  waitForLock(name);
  EXPECT_FALSE(isThere(name));
}

TEST_F(Remover, AFolderOfACommandThatIsNotInterruptedIsGoneWithIt) {
  std::string name;
  {
    const InterruptionScope scope;
    const KilledRemover nobody;
    const IngestDir work{layout_};
    name = work.name();
    fill(work.fd(), kMany);
  }
  EXPECT_FALSE(isThere(name));
}

}  // namespace
}  // namespace img::store
