#include "store/side_work.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "base/error.h"

namespace img::store {
namespace {

constexpr size_t kBlock = size_t{300} << 10;

TEST(SideWork, SeesEveryBlockInOrder) {
  std::vector<std::byte> block(kBlock);
  std::vector<int> seen;
  SideWork work{[&](auto bytes) { seen.push_back(static_cast<int>(bytes[0])); }};
  for (int i = 0; i < 20; ++i) {
    work.wait();
    block[0] = static_cast<std::byte>(i);
    work.start(block);
  }
  work.wait();
  ASSERT_EQ(seen.size(), 20U);
  for (int i = 0; i < 20; ++i) EXPECT_EQ(seen[static_cast<size_t>(i)], i);
  EXPECT_EQ(work.size(), 20 * kBlock);
}

TEST(SideWork, SmallBlocksWaitForTheLargeOneBefore) {
  const std::vector<std::byte> large(4 * kBlock), small(100);
  std::vector<size_t> seen;  // by whichever thread; one at a time
  SideWork work{[&](auto bytes) { seen.push_back(bytes.size()); }};
  for (int i = 0; i < 50; ++i) {
    work.start(large);
    work.start(small);
  }
  work.wait();
  ASSERT_EQ(seen.size(), 100U);
  for (size_t i = 0; i < seen.size(); ++i)
    EXPECT_EQ(seen[i], i % 2 == 0 ? large.size() : small.size());
}

// In the thread of its own as well as before there is one.
TEST(SideWork, TellsWhatFailed) {
  for (const int failing : {0, 10}) {
    const std::vector<std::byte> block(kBlock);
    int blocks = 0;
    SideWork work{[&](auto) {
      if (blocks++ == failing) throw Error{Kind::failed, "no room"};
    }};
    const auto all = [&] {
      for (int i = 0; i < 20; ++i) {
        work.start(block);
        work.wait();
      }
    };
    EXPECT_THROW(all(), Error) << failing;
    EXPECT_EQ(blocks, failing + 1);
  }
}

}  // namespace
}  // namespace img::store
