#include "store/unsynced.h"

#include "base/process.h"
#include "store/boot.h"
#include "tests/store/store_fixture.h"

namespace img::store {
namespace {

using Durability = BlobWriter::Durability;

class UnsyncedTest : public test::StoreTest {
 protected:
  void SetUp() override {
    StoreTest::SetUp();
    ::unsetenv("IMG_DURABILITY");
  }

  // The blobs of an image that has no name yet.
  Image makeUnnamed(const std::string& content) const {
    const Descriptor layer =
        putBlob(layout, test::makeTar({{"file", content}}), media::kLayer, Durability::withName);
    ImageConfig config;
    config.platform = Platform::host();
    config.diffIds = {layer.digest};
    Manifest manifest;
    manifest.layers = {layer};
    return writeManifest(layout, config, manifest, Durability::withName);
  }
  void publish(const Image& image) const {
    Images{layout}.publish(image.manifestDescriptor, {"docker.io/library/app:latest"});
  }
  void damage(const Digest& digest) const {
    const Fd file = sys::openat(layout.blobs(), digest.hex(), O_WRONLY);
    ASSERT_EQ(::ftruncate(file.get(), 1), 0);
  }
  void startAgain() const {
    const std::string mark = fs::readFile(layout.fd(), "locks/fast");
    fs::replaceFile(layout.fd(), "locks/fast", "another" + mark, 0644, fs::Sync::none);
    checkAfterBoot(layout);
  }
  bool isWaiting(const Digest& digest) const {
    return isUnsynced(sys::fstatat(layout.blobs(), digest.hex()));
  }
};

TEST_F(UnsyncedTest, ALayerIsSyncedWhenTheImageGetsItsName) {
  const Image image = makeUnnamed("x");
  const Digest layer = image.manifest.layers[0].digest;
  EXPECT_TRUE(isWaiting(layer));
  EXPECT_TRUE(isWaiting(image.id));
  publish(image);
  EXPECT_FALSE(isWaiting(layer));
  EXPECT_FALSE(isWaiting(image.id));
  EXPECT_FALSE(isWaiting(image.manifestDescriptor.digest));
}

TEST_F(UnsyncedTest, TheMarkSaysThatNamesAreDurable) {
  EXPECT_FALSE(readUnsyncedMark(layout));
  publish(makeUnnamed("x"));
  const auto mark = readUnsyncedMark(layout);
  ASSERT_TRUE(mark);
  EXPECT_EQ(mark->boot, bootId());
  EXPECT_EQ(mark->what, Unsynced::blobs);
}

TEST_F(UnsyncedTest, AMarkOfUnsyncedNamesIsNotTakenBack) {
  noteUnsynced(layout, Unsynced::blobs);
  noteUnsynced(layout, Unsynced::names);
  noteUnsynced(layout, Unsynced::blobs);
  EXPECT_EQ(readUnsyncedMark(layout)->what, Unsynced::names);
  EXPECT_TRUE(syncedIndex(layout));
}

TEST_F(UnsyncedTest, ANameOfSyncedBlobsIsNotWrittenAgain) {
  const Image image = makeUnnamed("x");
  publish(image);
  const ino_t before = sys::fstatat(layout.fd(), "index.json").st_ino;
  publish(image);
  EXPECT_EQ(sys::fstatat(layout.fd(), "index.json").st_ino, before);
}

TEST_F(UnsyncedTest, WhatANamelessBuildLeftIsProvenAfterAnotherBoot) {
  const Digest whole = makeUnnamed("x").manifest.layers[0].digest;
  const Digest lost = makeUnnamed("y").manifest.layers[0].digest;
  damage(lost);
  startAgain();
  EXPECT_TRUE(hasBlob(layout, whole));
  EXPECT_FALSE(isWaiting(whole));
  EXPECT_FALSE(hasBlob(layout, lost));
  EXPECT_FALSE(readUnsyncedMark(layout));
}

TEST_F(UnsyncedTest, ABlobThatNobodyHeldIsReadBeforeItGetsAName) {
  const Image image = makeUnnamed("x");
  const Digest layer = image.manifest.layers[0].digest;
  damage(layer);
  EXPECT_EQ(test::errorOf([&] { publish(image); }).kind(), Kind::corrupt);
  EXPECT_FALSE(hasBlob(layout, layer)) << "nothing may be made of it again";
  EXPECT_TRUE(names().empty());
}

TEST_F(UnsyncedTest, RecordsOfABlobThatIsRemovedGoAlong) {
  const Image image = makeUnnamed("x");
  const Digest layer = image.manifest.layers[0].digest;
  const auto record = [&](const char* name, const Digest& digest) {
    fs::replaceFile(layout.fd(), std::string{"cache/steps/"} + name, "{\"" + digest.str() + "\"}",
                    0600, fs::Sync::none);
  };
  record("lost", layer);
  record("kept", image.id);
  damage(layer);
  test::errorOf([&] { publish(image); });
  EXPECT_FALSE(sys::tryFstatat(layout.fd(), "cache/steps/lost"));
  EXPECT_TRUE(sys::tryFstatat(layout.fd(), "cache/steps/kept"));
}

TEST_F(UnsyncedTest, ABlobThatWasHeldIsNotRead) {
  const Image image = makeUnnamed("x");
  const Digest layer = image.manifest.layers[0].digest;
  holdUnsynced(layout, layer);
  damage(layer);  // more than a disk can do unnoticed
  publish(image);
  EXPECT_FALSE(isWaiting(layer));
}

TEST_F(UnsyncedTest, AnImageWithoutOneOfItsBlobsGetsNoName) {
  const Image image = makeUnnamed("x");
  sys::unlinkat(layout.blobs(), image.manifest.layers[0].digest.hex(), 0);
  EXPECT_EQ(test::errorOf([&] { publish(image); }).kind(), Kind::notFound);
  EXPECT_TRUE(names().empty());
}

TEST_F(UnsyncedTest, WhatElseIsHeldIsSyncedAlong) {
  const Digest other = makeUnnamed("of another stage").manifest.layers[0].digest;
  holdUnsynced(layout, other);
  publish(makeUnnamed("x"));
  EXPECT_FALSE(isWaiting(other));
}

TEST_F(UnsyncedTest, WhatIsHeldIsSyncedWithoutAName) {
  const Digest layer = makeUnnamed("x").manifest.layers[0].digest;
  holdUnsynced(layout, layer);
  settleHeld(layout);
  EXPECT_FALSE(isWaiting(layer));
  settleHeld(layout);  // nothing is held any more
}

TEST_F(UnsyncedTest, ManyBlobsAreSyncedByTwoThreads) {
  std::vector<Digest> all;
  for (int i = 0; i < 40; ++i) {
    all.push_back(putBlob(layout, std::to_string(i), media::kLayer, Durability::withName).digest);
    holdUnsynced(layout, all.back());
  }
  settleHeld(layout);
  for (const Digest& digest : all) EXPECT_FALSE(isWaiting(digest)) << digest.str();
}

// With two threads each, in any order: who waits for the lock of one has no other.
TEST_F(UnsyncedTest, TwoProcessesThatSyncTheSameBlobsDoNotWaitForEachOtherForever) {
  for (int round = 0; round < 5; ++round) {
    std::vector<Descriptor> layers;
    for (int i = 0; i < 12; ++i) {
      const std::string content = std::to_string(100 * round + i);
      layers.push_back(
          putBlob(layout, test::makeTar({{"file", content}}), media::kLayer, Durability::withName));
    }
    ImageConfig config;
    config.platform = Platform::host();
    for (const Descriptor& layer : layers) config.diffIds.push_back(layer.digest);
    Manifest manifest;
    manifest.layers = layers;
    const Image image = writeManifest(layout, config, manifest, Durability::withName);
    Child other = Child::fork([&] {
      publish(image);
      return std::string{};
    });
    publish(image);
    other.finish();
    for (const Descriptor& layer : layers) EXPECT_FALSE(isWaiting(layer.digest));
  }
}

}  // namespace
}  // namespace img::store
