#include "store/eviction.h"

#include <gtest/gtest.h>
#include <sys/statfs.h>

#include <ctime>

#include "tests/store/store_fixture.h"

namespace img::store {
namespace {

class EvictionTest : public test::StoreTest {
 protected:
  // A step with a layer of its own, last used so many seconds ago.
  Digest step(const std::string& key, const std::string& content, long long age) {
    const Descriptor layer = putBlob(layout, std::string(8192, 'x') + content, media::kLayer);
    fs::replaceFile(layout.fd(), "cache/steps/" + key,
                    R"({"record":{"layer":)" + toJson(layer) + R"(,"diff_id":")" +
                        layer.digest.str() + R"(","instruction":"RUN )" + content +
                        R"("},"sha256":""})",
                    0600, fs::Sync::none);
    const timespec then{::time(nullptr) - age, 0};
    sys::utimensat(layout.fd(), "cache/steps/" + key, then, then);
    return layer.digest;
  }
  bool isThere(const Digest& digest) {
    return sys::tryFstatat(layout.fd(), layout.blobPath(digest)).has_value();
  }
  static bool any(const CachedStep& /*unused*/) { return true; }
  // Asks for `bytes` more than the file system has free.
  SpaceLimits lacking(std::uint64_t bytes) {
    SpaceLimits limits;
    const struct statfs info = sys::fstatfs(layout.fd(), "store");
    limits.reserveBytes =
        std::uint64_t{info.f_bavail} * static_cast<std::uint64_t>(info.f_bsize) + bytes;
    return limits;
  }
};

constexpr std::uint64_t kMore = std::uint64_t{1} << 40;  // what no test machine frees meanwhile

TEST_F(EvictionTest, ListsTheLeastRecentlyUsedFirstWithWhatGoesWithThem) {
  step("new", "b", 60);
  step("old", "a", 3600);
  const std::vector<CachedStep> steps = listCachedSteps(layout, any);
  ASSERT_EQ(steps.size(), 2U);
  EXPECT_EQ(steps[0].key, "old");
  EXPECT_EQ(steps[0].instruction, "RUN a");
  EXPECT_TRUE(steps[0].keepsOnly);
  EXPECT_GE(steps[0].size.bytes, 8192U);
}

TEST_F(EvictionTest, ALayerOfTwoStepsGoesWithTheLastOfThem) {
  step("one", "a", 3600);
  step("two", "a", 60);
  const std::vector<CachedStep> steps = listCachedSteps(layout, any);
  EXPECT_EQ(steps[0].size.bytes, 0U);
  EXPECT_GE(steps[1].size.bytes, 8192U);
}

TEST_F(EvictionTest, WhatAnImageNeedsIsNoRoomToGain) {
  const Image image = makeImage("1", {"docker.io/library/a:latest"});
  fs::replaceFile(layout.fd(), "cache/steps/key",
                  R"({"record":{"layer":)" + toJson(image.manifest.layers[0]) + R"(},"sha256":""})",
                  0600, fs::Sync::none);
  const std::vector<CachedStep> steps = listCachedSteps(layout, any);
  ASSERT_EQ(steps.size(), 1U);
  EXPECT_FALSE(steps[0].keepsOnly);
  EXPECT_EQ(steps[0].size.bytes, 0U);
}

TEST_F(EvictionTest, MakesRoomFromTheOldestAndSparesTheRecent) {
  const Digest old = step("old", "a", 7200);
  const Digest older = step("older", "b", 90000);
  const Digest recent = step("recent", "c", 300);
  EXPECT_GT(makeRoom(layout, lacking(kMore)), 0U);
  EXPECT_FALSE(isThere(older));
  EXPECT_FALSE(isThere(old));
  EXPECT_TRUE(isThere(recent));
}

TEST_F(EvictionTest, StopsWhenEnoughIsFree) {
  SpaceLimits limits;
  const Digest older = step("older", "b", 90000);
  const Digest old = step("old", "a", 7200);
  limits.maxSize = diskUsage(layout.fd(), ".").bytes - 4096;  // one of them is enough
  EXPECT_GT(makeRoom(layout, limits), 0U);
  EXPECT_FALSE(isThere(older));
  EXPECT_TRUE(isThere(old));
}

TEST_F(EvictionTest, NothingGoesWhenNothingIsMissing) {
  const Digest old = step("old", "a", 90000);
  EXPECT_FALSE(isShortOfRoom(layout, SpaceLimits{}));
  EXPECT_EQ(makeRoom(layout, SpaceLimits{}), 0U);
  EXPECT_TRUE(isThere(old));
}

TEST_F(EvictionTest, NeverTwoAtOnce) {
  const Digest old = step("old", "a", 90000);
  const FileLock other = FileLock::acquire(layout.fd(), "locks/collect", FileLock::Mode::exclusive);
  EXPECT_EQ(makeRoom(layout, lacking(kMore)), 0U);
  EXPECT_TRUE(isThere(old));
}

TEST_F(EvictionTest, WhatARunningBuildHasFoundStays) {
  const Digest old = step("old", "a", 90000);
  const StoreUse use{layout};
  EXPECT_TRUE(hasBlob(layout, old));
  makeRoom(layout, lacking(kMore));
  EXPECT_TRUE(isThere(old));
}

}  // namespace
}  // namespace img::store
