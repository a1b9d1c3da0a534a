#include "store/references.h"

#include "tests/store/store_fixture.h"

namespace img::store {
namespace {

constexpr char kA[] = "docker.io/library/a:latest";

class DocumentsTest : public test::StoreTest {
 protected:
  void damage(const Digest& digest, const std::string& content) {
    sys::unlinkat(layout.fd(), layout.blobPath(digest), 0);
    fs::replaceFile(layout.fd(), layout.blobPath(digest), content, 0444, fs::Sync::none);
  }
  Documents documents{layout};
};

TEST_F(DocumentsTest, AManifestSaysWhichOfItsDocumentsIsTheConfig) {
  const Image image = makeImage("1", {kA});
  const Targets* manifest = documents.find(image.manifestDescriptor.digest);
  ASSERT_NE(manifest, nullptr);
  EXPECT_EQ(manifest->config, image.id);
  EXPECT_EQ(manifest->documents, std::vector{image.id});
  EXPECT_EQ(documents.find(image.id)->config, std::nullopt);
}

TEST_F(DocumentsTest, WhatWasReadAheadIsKnownAlthoughItWent) {
  std::vector<Digest> manifests;
  for (int i = 0; i < 60; ++i) {
    const std::string number = std::to_string(i);
    manifests.push_back(
        makeImage(number, {"docker.io/library/a:" + number}).manifestDescriptor.digest);
  }
  documents.prefetchTrees(manifests);
  for (const Digest& manifest : manifests) {
    const Targets* known = documents.known(manifest);
    ASSERT_NE(known, nullptr);
    ASSERT_TRUE(known->config);
    EXPECT_EQ(documents.known(*known->config)->diffIds.size(), 1U);
    sys::unlinkat(layout.fd(), layout.blobPath(manifest), 0);
    EXPECT_EQ(documents.find(manifest), known);
  }
}

TEST_F(DocumentsTest, ReadingAheadLeavesLayersMissingAndDamagedOnesToWhoAsks) {
  const Image image = makeImage("1", {kA});
  const Digest layer = image.manifest.layers[0].digest;
  const Digest missing = Digest::of("nowhere");
  const Digest link = Digest::of("a link");
  damage(image.manifestDescriptor.digest, R"({"config":{}})");
  ASSERT_EQ(::symlinkat("/", layout.blobs(), link.hex().c_str()), 0);
  documents.prefetch({layer, missing, link, image.manifestDescriptor.digest});
  EXPECT_EQ(documents.known(link), nullptr);
  EXPECT_EQ(documents.known(layer), nullptr);
  EXPECT_EQ(documents.tryFind(layer), nullptr);
  EXPECT_EQ(documents.find(missing), nullptr);
  EXPECT_EQ(documents.known(image.manifestDescriptor.digest), nullptr);
  const Error error = test::errorOf([&] { documents.find(image.manifestDescriptor.digest); });
  EXPECT_EQ(error.kind(), Kind::corrupt);
}

// An index that is long enough to be remembered is looked at anew when it is another one.
TEST_F(DocumentsTest, RootsOfALongIndexAreThoseOfItsLastChange) {
  const Descriptor manifest = makeImage("1", {kA}).manifestDescriptor;
  std::vector<std::string> names;
  for (int i = 0; i < 200; ++i) names.push_back("docker.io/library/a:" + std::to_string(i));
  const Images images{layout};
  images.publish(manifest, names);
  EXPECT_EQ(images.list().size(), 201U);
  EXPECT_EQ(images.list().size(), 201U);
  Roots roots{layout};
  roots.refresh();
  EXPECT_EQ(roots.manifests(), std::vector{manifest.digest});
  const Digest other = makeImage("2", {"docker.io/library/b:latest"}).manifestDescriptor.digest;
  images.untag(names.front());
  EXPECT_EQ(images.list().size(), 201U);
  EXPECT_FALSE(images.find("a:0"));
  EXPECT_TRUE(images.find("a:1"));
  roots.refresh();
  EXPECT_EQ(roots.manifests(), (std::vector{manifest.digest, other}));
}

}  // namespace
}  // namespace img::store
