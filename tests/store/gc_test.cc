#include "store/gc.h"

#include <gtest/gtest.h>

#include <csignal>
#include <cstdlib>

#include "base/process.h"
#include "store/layers.h"
#include "store/lease.h"
#include "store/usage.h"
#include "tests/store/store_fixture.h"

namespace img::store {
namespace {

constexpr char kA[] = "docker.io/library/a:latest";

class CollectorTest : public test::StoreTest {
 protected:
  // An image that nothing refers to.
  Image garbage(const std::string& content) {
    Image image = makeImage(content, {kA});
    Images{layout}.untag(kA);
    return image;
  }
  static bool isThere(const Layout& in, const Digest& digest) {
    return sys::tryFstatat(in.fd(), in.blobPath(digest)).has_value();
  }
  bool isWhole(const Image& image) {
    return isThere(layout, image.id) && isThere(layout, image.manifestDescriptor.digest) &&
           isThere(layout, image.manifest.layers[0].digest);
  }
  void makeView(const Digest& diffId) {
    fs::makeDirs(layout.fd(), "ingest/view").reset();
    Layers{layout}.adopt("ingest/view", diffId, 1, 1);
  }
};

TEST_F(CollectorTest, WhatALivingProcessFoundStaysUntilItEnds) {
  const Image image = garbage("1");
  {
    const StoreUse use{layout};
    EXPECT_TRUE(hasBlob(layout, image.manifest.layers[0].digest));
    EXPECT_EQ(collectGarbage(layout).layers, std::vector<Digest>{});
    EXPECT_TRUE(isThere(layout, image.manifest.layers[0].digest));
    EXPECT_FALSE(isThere(layout, image.id));  // of that it knows nothing
  }
  collectGarbage(layout);
  EXPECT_EQ(countIn("blobs/sha256"), 0U);
}

TEST_F(CollectorTest, ALeaseOnAManifestKeepsTheWholeImage) {
  const Image image = makeImage("1", {kA});
  makeView(image.config.diffIds[0]);
  const StoreUse use{layout};
  EXPECT_EQ(Images{layout}.get("a").id, image.id);
  Images{layout}.untag(kA);
  collectGarbage(layout);
  EXPECT_TRUE(isWhole(image));
  EXPECT_TRUE(Layers{layout}.has(image.config.diffIds[0]));
}

TEST_F(CollectorTest, FreesWhileOthersAreAtWorkOnSomethingElse) {
  const Image image = garbage("1");
  const StoreUse use{layout};
  const Descriptor other = putBlob(layout, "mine", media::kLayer);
  EXPECT_GT(collectGarbage(layout).bytes, 0U);
  EXPECT_FALSE(isThere(layout, image.manifest.layers[0].digest));
  EXPECT_TRUE(isThere(layout, other.digest));
}

// A pull pins its manifest, makes it, names it and ends while a survey takes its time.
TEST_F(CollectorTest, WhatIsMadeNamedAndLetGoAfterTheSurveyStays) {
  const Image image = garbage("1");
  const Digest manifest = image.manifestDescriptor.digest;
  sys::renameat(layout.fd(), layout.blobPath(manifest), layout.fd(), "ingest/manifest");
  Collector collector{layout};
  {
    const StoreUse use{layout};
    pin(layout, manifest);
    collector.survey();
  }
  EXPECT_EQ(collector.dead().size(), 2U);
  sys::renameat(layout.fd(), "ingest/manifest", layout.fd(), layout.blobPath(manifest));
  Images{layout}.publish(image.manifestDescriptor, {kA});
  collector.bury();
  EXPECT_TRUE(isWhole(image));
}

// Between the survey and the lock: found, named, contained, remembered.
TEST_F(CollectorTest, WhatIsPinnedAfterTheSurveyStays) {
  const Image image = garbage("1");
  Collector collector{layout};
  collector.survey();
  EXPECT_EQ(collector.dead().size(), 3U);
  const StoreUse use{layout};
  EXPECT_TRUE(hasBlob(layout, image.manifestDescriptor.digest));
  EXPECT_EQ(collector.bury().bytes, 0U);
  EXPECT_TRUE(isWhole(image));
}

TEST_F(CollectorTest, WhatGetsANameAfterTheSurveyStays) {
  const Image image = garbage("1");
  Collector collector{layout};
  collector.survey();
  Images{layout}.publish(image.manifestDescriptor, {kA});
  collector.bury();
  EXPECT_TRUE(isWhole(image));
}

TEST_F(CollectorTest, WhatAContainerNeedsAfterTheSurveyStays) {
  const Image image = garbage("1");
  makeView(image.config.diffIds[0]);
  Collector collector{layout};
  collector.survey();
  makeContainer(std::string(64, 'e'), image);
  collector.bury();
  EXPECT_TRUE(isThere(layout, image.manifest.layers[0].digest));
  EXPECT_TRUE(Layers{layout}.has(image.config.diffIds[0]));
}

TEST_F(CollectorTest, WhatAStepRecordNeedsAfterTheSurveyStays) {
  const Image image = garbage("1");
  Collector collector{layout};
  collector.survey();
  fs::replaceFile(layout.fd(), "cache/steps/key",
                  R"({"record":{"layer":)" + toJson(image.manifest.layers[0]) + R"(,"diff_id":")" +
                      image.config.diffIds[0].str() + R"("},"sha256":""})",
                  0644, fs::Sync::none);
  collector.bury();
  EXPECT_TRUE(isThere(layout, image.manifest.layers[0].digest));
  EXPECT_FALSE(isThere(layout, image.id));
}

TEST_F(CollectorTest, WhatArrivesAfterTheSurveyIsNobodysGarbage) {
  Collector collector{layout};
  garbage("1");
  collector.survey();
  const Descriptor late = putBlob(layout, "late", media::kLayer);
  collector.bury();
  EXPECT_TRUE(isThere(layout, late.digest));
}

// An index that names a platform which was not there: its manifest arrives, with a layer that was
// garbage, and its bringer ends, all between the survey and the lock.
TEST_F(CollectorTest, ADocumentThatArrivesAfterTheSurveyKeepsWhatItNeeds) {
  const Image image = makeImage("1", {kA});
  const std::string manifest =
      fs::readFile(layout.fd(), layout.blobPath(image.manifestDescriptor.digest));
  Index index;
  index.manifests = {image.manifestDescriptor};
  Images{layout}.publish(putBlob(layout, toJson(index), media::kIndex), {kA});
  sys::unlinkat(layout.fd(), layout.blobPath(image.manifestDescriptor.digest), 0);
  Collector collector{layout};
  collector.survey();
  EXPECT_EQ(collector.dead().size(), 2U);
  putBlob(layout, manifest, media::kManifest);
  collector.bury();
  EXPECT_TRUE(isWhole(image));
}

TEST_F(CollectorTest, DocumentsGoBeforeWhatTheyReferTo) {
  const Image image = garbage("1");
  makeView(image.config.diffIds[0]);
  Collector collector{layout};
  collector.survey();
  std::vector<Digest> order;
  for (const DeadObject& object : collector.dead()) order.push_back(object.digest);
  ASSERT_EQ(order.size(), 4U);
  EXPECT_EQ(order[0], image.manifestDescriptor.digest);
  EXPECT_EQ(order[3], image.config.diffIds[0]);
  EXPECT_EQ(collector.dead()[3].kind, DeadObject::Kind::view);
}

TEST_F(CollectorTest, KilledInTheMiddleLeavesNothingHalf) {
  const Image image = garbage("1");
  const Image kept = makeImage("2", {"docker.io/library/kept:latest"});
  for (const char* point : {"gc.beforeLock", "gc.buried", "gc.beforeUnlink"}) {
    Child child = Child::fork([&] {
      ::setenv("IMG_FAILPOINT", point, 1);
      collectGarbage(layout);
      return std::string{};
    });
    EXPECT_THROW(child.finish(), Error) << point;
    EXPECT_TRUE(isWhole(kept)) << point;
    layout.recover();
    EXPECT_EQ(countIn("trash"), 0U) << point;
    // Whole or not findable: the manifest goes first.
    EXPECT_TRUE(isWhole(image) || !isThere(layout, image.manifestDescriptor.digest)) << point;
    garbage("1");
  }
}

TEST_F(CollectorTest, WithADamagedDocumentNothingIsFreed) {
  const Image image = garbage("1");
  const Image broken = makeImage("2", {kA});
  const std::string path = layout.blobPath(broken.manifestDescriptor.digest);
  sys::unlinkat(layout.fd(), path, 0);
  fs::replaceFile(layout.fd(), path, "{", 0444, fs::Sync::none);
  EXPECT_EQ(collectGarbage(layout).bytes, 0U);
  EXPECT_TRUE(isWhole(image));
  EXPECT_EQ(test::errorOf([&] { Collector{layout}.collect(); }).kind(), Kind::corrupt);
}

TEST_F(CollectorTest, AnIndexOverABlobKeepsIt) {
  const Image image = garbage("1");
  const Digest diffId = image.config.diffIds[0];
  makeView(diffId);
  fs::replaceFile(layout.layers(), diffId.hex() + "/index", "x", 0644, fs::Sync::none);
  const StoreUse use{layout};
  pin(layout, diffId);
  collectGarbage(layout);
  EXPECT_TRUE(isThere(layout, diffId));
}

TEST_F(CollectorTest, ASurveyTellsWhatWouldGoWithoutSomeImages) {
  const Image image = makeImage("1", {kA});
  Collector collector{layout};
  collector.survey();
  EXPECT_TRUE(collector.dead().empty());
  collector.ignore({image.manifestDescriptor.digest}, {});
  collector.survey();
  EXPECT_EQ(collector.dead().size(), 3U);
  EXPECT_TRUE(isWhole(image));
}

TEST_F(CollectorTest, MeasuresFoldersOfLayersToo) {
  const Image image = garbage("1");
  makeView(image.config.diffIds[0]);
  Collector collector{layout};
  collector.measure();
  const std::uint64_t before =
      diskUsage(layout.fd(), "blobs").bytes + diskUsage(layout.fd(), "layers").bytes;
  const std::uint64_t freed = collector.collect().bytes;
  EXPECT_GT(freed, 0U);
  EXPECT_GE(freed + diskUsage(layout.fd(), "blobs").bytes + diskUsage(layout.fd(), "layers").bytes,
            before);
}

// Small blobs are unlinked under the lock, large ones are moved out of the way first.
TEST_F(CollectorTest, OnlyLargeBlobsAndViewsPassThroughTheTrash) {
  const Image image = garbage("1");
  makeView(image.config.diffIds[0]);
  const Descriptor large = putBlob(layout, std::string(size_t{1} << 20, 'x'), media::kLayer);
  Child child = Child::fork([&] {
    ::setenv("IMG_FAILPOINT", "gc.beforeUnlink", 1);
    collectGarbage(layout);
    return std::string{};
  });
  EXPECT_THROW(child.finish(), Error);
  EXPECT_EQ(countIn("blobs/sha256"), 0U);
  const auto graves = fs::list(sys::openDirectory(layout.fd(), "trash").get());
  ASSERT_EQ(graves.size(), 1U);
  const Fd grave = sys::openDirectory(layout.fd(), "trash/" + graves[0].name);
  EXPECT_EQ(fs::list(grave.get()).size(), 2U);
  EXPECT_TRUE(sys::tryFstatat(grave.get(), "blob-" + large.digest.hex()));
  layout.recover();
  EXPECT_EQ(countIn("trash"), 0U);
}

TEST_F(CollectorTest, ManyImagesGoTogetherAndThoseWithANameStay) {
  std::vector<Image> gone, kept;
  for (int i = 0; i < 150; ++i) {
    const std::string number = std::to_string(i);
    const std::string name = "docker.io/library/a:" + number;
    (i % 3 == 0 ? kept : gone).push_back(makeImage(number, {name}));
    if (i % 3 != 0) Images{layout}.untag(name);
  }
  Collector collector{layout};
  const std::vector<Digest> layers = collector.collect().layers;
  EXPECT_EQ(layers.size(), gone.size());
  EXPECT_EQ(countIn("blobs/sha256"), kept.size() * 3);
  for (const Image& image : kept) EXPECT_TRUE(isWhole(image));
}

}  // namespace
}  // namespace img::store
