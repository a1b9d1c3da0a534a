#include "builder/first_time.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include "tests/builder/support.h"

namespace img::builder {
namespace {

class FirstTime : public testing::Test {
 protected:
  FirstTime() : layout_(store::Layout::open(temp_.path() + "/store")) {}
  fs::TempDir temp_;
  store::Layout layout_;
};

TEST_F(FirstTime, IsOnlyOnce) {
  EXPECT_TRUE(isFirstTime(layout_, Digest::of("a")));
  EXPECT_FALSE(isFirstTime(layout_, Digest::of("a")));
  EXPECT_TRUE(isFirstTime(layout_, Digest::of("b")));
  EXPECT_FALSE(isFirstTime(layout_, Digest::of("a")));
}

TEST_F(FirstTime, IsRememberedByTheStore) {
  EXPECT_TRUE(isFirstTime(layout_, Digest::of("a")));
  const store::Layout again = store::Layout::open(temp_.path() + "/store");
  EXPECT_FALSE(isFirstTime(again, Digest::of("a")));
  const store::Layout other = store::Layout::open(temp_.path() + "/other");
  EXPECT_TRUE(isFirstTime(other, Digest::of("a")));
}

// Some are forgotten, and the table does not grow.
TEST_F(FirstTime, IsForgottenWhenThereIsTooMuch) {
  constexpr int kMany = 20'000;
  for (int i = 0; i < kMany; ++i) isFirstTime(layout_, Digest::of(std::to_string(i)));
  int forgotten = 0;
  for (int i = 0; i < 100; ++i) forgotten += isFirstTime(layout_, Digest::of(std::to_string(i)));
  EXPECT_GT(forgotten, 0);
  EXPECT_LE(sys::fstatat(layout_.fd(), "cache/stat/first-times").st_size, 64 << 10);
}

TEST_F(FirstTime, IsNeverWhereNothingCanBeRemembered) {
  sys::mkdirat(layout_.fd(), "cache/stat/first-times", 0700);
  EXPECT_FALSE(isFirstTime(layout_, Digest::of("a")));
}

}  // namespace
}  // namespace img::builder
