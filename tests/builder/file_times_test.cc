#include "builder/file_times.h"

#include <gtest/gtest.h>

#include "tests/builder/support.h"

namespace img::builder {
namespace {

constexpr std::int64_t kEpoch = 1000;

class FileTimes : public testing::Test {
 protected:
  void setTime(const char* path, timespec time) const {
    sys::utimensat(temp.fd(), path, {7, 0}, time);
  }
  [[nodiscard]] timespec timeOf(const char* path) const {
    return sys::fstatat(temp.fd(), path).st_mtim;
  }
  fs::TempDir temp;
};

TEST_F(FileTimes, LaterOnesBecomeTheEpochWhereverTheyAre) {
  writeFile(temp.fd(), "d/e/f", "x");
  sys::symlinkat("nowhere", temp.fd(), "d/link");
  clampFileTimes(temp.fd(), kEpoch);
  for (const char* path : {"d", "d/e", "d/e/f", "d/link"}) {
    EXPECT_EQ(timeOf(path).tv_sec, kEpoch) << path;
    EXPECT_EQ(timeOf(path).tv_nsec, 0) << path;
  }
}

TEST_F(FileTimes, APartOfASecondIsLater) {
  writeFile(temp.fd(), "f", "x");
  setTime("f", {kEpoch, 1});
  clampFileTimes(temp.fd(), kEpoch);
  EXPECT_EQ(timeOf("f").tv_nsec, 0);
}

TEST_F(FileTimes, EarlierOnesAndTimesOfAccessStay) {
  writeFile(temp.fd(), "f", "x");
  setTime("f", {kEpoch - 1, 5});
  clampFileTimes(temp.fd(), kEpoch);
  EXPECT_EQ(timeOf("f").tv_sec, kEpoch - 1);
  EXPECT_EQ(timeOf("f").tv_nsec, 5);
  setTime("f", {kEpoch + 1, 0});
  clampFileTimes(temp.fd(), kEpoch);
  EXPECT_EQ(sys::fstatat(temp.fd(), "f").st_atim.tv_sec, 7);
}

TEST_F(FileTimes, NothingOutsideIsTouched) {
  const fs::TempDir other;
  writeFile(other.fd(), "f", "x");
  sys::utimensat(other.fd(), "f", {7, 0}, {kEpoch + 5, 0});
  sys::symlinkat(other.path(), temp.fd(), "link");
  clampFileTimes(temp.fd(), kEpoch);
  EXPECT_EQ(sys::fstatat(other.fd(), "f").st_mtim.tv_sec, kEpoch + 5);
}

}  // namespace
}  // namespace img::builder
