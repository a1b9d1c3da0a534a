#include "store/share_work.h"

#include <gtest/gtest.h>

#include <atomic>
#include <stdexcept>
#include <vector>

namespace img::store {
namespace {

class ShareWorkTest : public testing::TestWithParam<size_t> {};

TEST_P(ShareWorkTest, DoesEachPieceOnce) {
  std::vector<std::atomic<int>> done(GetParam());
  shareWork(GetParam(), [&](size_t i) { ++done[i]; });
  for (const auto& times : done) EXPECT_EQ(times, 1);
}

TEST_P(ShareWorkTest, ThrowsWhatAPieceThrewAndBeginsNoMore) {
  if (GetParam() == 0) return shareWork(0, [](size_t) { FAIL(); });
  std::atomic<size_t> begun = 0;
  EXPECT_THROW(shareWork(GetParam(),
                         [&](size_t) {
                           ++begun;
                           throw std::runtime_error{"broken"};
                         }),
               std::runtime_error);
  EXPECT_LE(begun, 2U);  // one of each thread
}

INSTANTIATE_TEST_SUITE_P(FewAndMany, ShareWorkTest, testing::Values(0, 1, 47, 48, 1000));

}  // namespace
}  // namespace img::store
