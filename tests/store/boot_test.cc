#include "store/boot.h"

#include "tests/store/store_fixture.h"

namespace img::store {
namespace {

// The fixture's store is written without fsync.
class BootTest : public test::StoreTest {
 protected:
  void startAgain() const {
    fs::replaceFile(layout.fd(), "locks/fast", "another boot", 0644, fs::Sync::none);
  }
  mode_t modeOf(const Digest& digest) const {
    return sys::fstatat(layout.blobs(), digest.hex()).st_mode & 0777;
  }
  bool isMarked() const { return sys::tryFstatat(layout.fd(), "locks/fast").has_value(); }
};

TEST_F(BootTest, ABlobWithoutFsyncIsMarkedByItsPermission) {
  const Image image = makeImage("x", {"docker.io/library/app:latest"});
  EXPECT_EQ(modeOf(image.id), 0644U);
  EXPECT_TRUE(isMarked());
}

TEST_F(BootTest, ADurableBlobIsNot) {
  ::unsetenv("IMG_DURABILITY");
  const Image image = makeImage("x", {"docker.io/library/app:latest"});
  EXPECT_EQ(modeOf(image.id), 0444U);
  EXPECT_FALSE(isMarked());
}

TEST_F(BootTest, WithinTheSameBootNothingIsRead) {
  const Image image = makeImage("x", {"docker.io/library/app:latest"});
  fs::replaceFile(layout.blobs(), image.id.hex(), "", 0644, fs::Sync::none);
  checkAfterBoot(layout);
  EXPECT_EQ(names().size(), 1U);
}

TEST_F(BootTest, AfterAnotherBootWholeBlobsAreProvenOnce) {
  const Image image = makeImage("x", {"docker.io/library/app:latest"});
  startAgain();
  checkAfterBoot(layout);
  EXPECT_EQ(names().size(), 1U);
  EXPECT_EQ(modeOf(image.id), 0444U);
  EXPECT_FALSE(isMarked());
}

TEST_F(BootTest, AfterAnotherBootDamagedBlobsTakeTheirNamesAlong) {
  const Image image = makeImage("x", {"docker.io/library/app:latest"});
  makeImage("y", {"docker.io/library/other:latest"});
  fs::replaceFile(layout.blobs(), image.manifest.layers[0].digest.hex(), "", 0644, fs::Sync::none);
  startAgain();
  checkAfterBoot(layout);
  EXPECT_EQ(names(), std::vector<std::string>{"docker.io/library/other:latest"});
  EXPECT_FALSE(hasBlob(layout, image.manifest.layers[0].digest));
}

TEST_F(BootTest, AMarkThatWasNotWrittenToTheEndMeansAnotherBoot) {
  const Image image = makeImage("x", {"docker.io/library/app:latest"});
  fs::replaceFile(layout.blobs(), image.id.hex(), "", 0644, fs::Sync::none);
  fs::replaceFile(layout.fd(), "locks/fast", "", 0644, fs::Sync::none);
  checkAfterBoot(layout);
  EXPECT_TRUE(names().empty());
}

TEST_F(BootTest, ALostIndexBecomesTheLastOneThatWasSynced) {
  ::unsetenv("IMG_DURABILITY");
  makeImage("x", {"docker.io/library/durable:latest"});
  ::setenv("IMG_DURABILITY", "fast", 1);
  makeImage("y", {"docker.io/library/fast:latest"});
  fs::replaceFile(layout.fd(), "index.json", "", 0644, fs::Sync::none);
  startAgain();
  checkAfterBoot(layout);
  EXPECT_EQ(names(), std::vector<std::string>{"docker.io/library/durable:latest"});
}

TEST_F(BootTest, ADurableNameMakesItsBlobsDurable) {
  const Image image = makeImage("x", {"docker.io/library/app:latest"});
  ::unsetenv("IMG_DURABILITY");
  Images{layout}.publish(image.manifestDescriptor, {"docker.io/library/app:latest"});
  EXPECT_EQ(modeOf(image.id), 0444U);
  EXPECT_EQ(modeOf(image.manifest.layers[0].digest), 0444U);
}

TEST_F(BootTest, AStoreThatWasNeverFinishedIsMadeAgain) {
  fs::replaceFile(layout.fd(), "version", "", 0644, fs::Sync::none);
  fs::replaceFile(layout.fd(), "index.json", "", 0644, fs::Sync::none);
  const Layout again = Layout::open(layout.root());
  EXPECT_TRUE(Images{again}.list().empty());
}

}  // namespace
}  // namespace img::store
