#include "store/cache_records.h"

#include <gtest/gtest.h>

#include <tuple>

#include "base/fs.h"
#include "base/sys.h"

namespace img::store {
namespace {

class CacheRecords : public testing::Test {
 protected:
  CacheRecords() : layout_(Layout::open(temp_.path() + "/store")) {}
  // `age` in seconds before 1,000,000.
  void put(const std::string& path, const std::string& text, long age) {
    std::ignore = fs::makeDirs(layout_.fd(), path.substr(0, path.rfind('/')));
    fs::replaceFile(layout_.fd(), path, text, 0600, fs::Sync::none);
    const timespec time{1'000'000 - age, 0};
    sys::utimensat(layout_.fd(), path, time, time);
  }
  bool has(const std::string& path) { return sys::tryFstatat(layout_.fd(), path).has_value(); }
  fs::TempDir temp_;
  Layout layout_;
};

TEST_F(CacheRecords, GoSomeTimeAfterTheirStep) {
  put("cache/steps/kept", "", 500);
  for (const char* name : {"kept", "old", "young"}) {
    const long age = std::string{name} == "young" ? 10 : 500;
    put(std::string{"cache/inputs/"} + name, "", age);
    put(std::string{"cache/evicted/"} + name, "", age);
  }
  sweepCacheRecords(layout_, 1'000'000 - 100);
  EXPECT_TRUE(has("cache/inputs/kept"));
  EXPECT_TRUE(has("cache/inputs/young"));
  EXPECT_TRUE(has("cache/evicted/young"));
  EXPECT_FALSE(has("cache/inputs/old"));
  EXPECT_FALSE(has("cache/evicted/old"));
}

TEST_F(CacheRecords, LeaveNoPointersToNothing) {
  put("cache/inputs/here", "", 10);
  put("cache/last/some", "gone\nhere\n", 10);
  put("cache/last/none", "gone\n", 10);
  sweepCacheRecords(layout_, 0);
  EXPECT_TRUE(has("cache/last/some"));
  EXPECT_FALSE(has("cache/last/none"));
}

TEST_F(CacheRecords, AFileThatSomebodyIsWritingStays) {
  put("cache/last/some.tmp-0123456789ab", "", 10);
  sweepCacheRecords(layout_, 0);
  EXPECT_TRUE(has("cache/last/some.tmp-0123456789ab"));
}

TEST_F(CacheRecords, NeedNotBeThere) {
  EXPECT_NO_THROW(sweepCacheRecords(layout_, 0));
}

}  // namespace
}  // namespace img::store
