// Indexes and compressed layers on their way into an archive.
#include "store/saved_item.h"

#include "store/images.h"
#include "tests/store/archive_fixture.h"

namespace img::store {
namespace {

using test::errorOf;

constexpr char kA[] = "docker.io/library/a:latest";

class SavedItem : public test::ArchiveTest {
 protected:
  // One image for this machine and one for another, under an index below another index.
  Descriptor makeIndex() {
    own_ = makeImage("own", {});
    foreign_ = makeImage("foreign", {});
    Index inner;
    inner.manifests = {foreign_.manifestDescriptor, foreign_.manifestDescriptor};
    inner.manifests[0].platform = Platform{"linux", "riscv64", "", ""};
    inner.manifests[1].platform = Platform{"linux", "pdp11", "", ""};
    inner.manifests[1].digest = Digest::of("not here");
    Index outer;
    inner_ = putBlob(layout, toJson(inner), media::kIndex);
    outer.manifests = {own_.manifestDescriptor, inner_};
    outer.manifests[0].platform = Platform::host();
    Descriptor index = putBlob(layout, toJson(outer), media::kIndex);
    index.annotations = {{kRefName, kA}, {"org.example.key", "v"}};
    return index;
  }

  std::string save(const SaveItem& item, ArchiveFormat format = ArchiveFormat::ociArchive) {
    StringSink sink;
    saveArchive(layout, {item}, format, sink);
    return sink.text;
  }

  Image own_, foreign_;
  Descriptor inner_;
};

TEST_F(SavedItem, HoldsWhatTheStoreHasOfAnIndex) {
  const Descriptor index = makeIndex();
  SaveItem item;
  addIndex(layout, index, item);
  item.names = {kA};
  EXPECT_EQ(item.image.id, own_.id);
  ASSERT_EQ(item.others.size(), 1U);
  EXPECT_EQ(item.others[0].id, foreign_.id);
  EXPECT_EQ(item.annotations, (std::map<std::string, std::string>{{"org.example.key", "v"}}));

  const Layout other = Layout::open(folder.path() + "/other");
  const auto loaded = load(other, save(item));
  EXPECT_EQ(loaded[0].manifest.digest, index.digest);
  for (const Digest& digest : {inner_.digest, own_.id, foreign_.id})
    EXPECT_TRUE(hasBlob(other, digest)) << digest.str();
}

TEST_F(SavedItem, OfAnIndexWithoutAnImageHereIsRefused) {
  Index index;
  index.manifests = {{media::kManifest, Digest::of("not here"), 8, {}, {}, {}}};
  SaveItem item;
  const Descriptor descriptor = putBlob(layout, toJson(index), media::kIndex);
  EXPECT_EQ(errorOf([&] { addIndex(layout, descriptor, item); }).kind(), Kind::notFound);
}

TEST_F(SavedItem, CompressesPlainLayersAndKeepsTheImageId) {
  for (const ArchiveFormat format : {ArchiveFormat::dockerArchive, ArchiveFormat::ociArchive}) {
    SaveItem item{makeImage(std::string(10'000, 'x'), {}), {kA}};
    const std::string plain = save(item, format);
    const Digest id = item.image.id;
    compressItem(layout, item);
    EXPECT_EQ(item.image.id, id);
    EXPECT_EQ(item.image.manifest.layers[0].mediaType, media::kLayerGzip);
    const std::string packed = save(item, format);
    EXPECT_LT(packed.size(), plain.size() / 2);
    const Layout other =
        Layout::open(folder.path() + (format == ArchiveFormat::ociArchive ? "/o" : "/d"));
    EXPECT_EQ(load(other, packed)[0].id, id);
    SaveItem again{Images{layout}.load(item.image.manifestDescriptor), {kA}};
    compressItem(layout, again);  // nothing is left to be compressed
    EXPECT_TRUE(save(again, format) == packed);
  }
}

TEST_F(SavedItem, CompressesTheImagesOfAnIndex) {
  const Image one = makeImage("1", {});
  Index index;
  index.manifests = {one.manifestDescriptor};
  index.manifests[0].platform = Platform::host();
  index.manifests[0].annotations = {{"k", "v"}};
  const Descriptor old = putBlob(layout, toJson(index), media::kIndex);
  SaveItem item;
  addIndex(layout, old, item);
  item.names = {kA};
  compressItem(layout, item);
  EXPECT_NE(item.index->digest, old.digest);
  const Layout other = Layout::open(folder.path() + "/other");
  EXPECT_EQ(load(other, save(item))[0].manifest.digest, item.index->digest);
  EXPECT_EQ(Images{other}.get(kA).id, one.id);
  const Index written = parseIndex(readDocument(other, *item.index), "test");
  EXPECT_EQ(written.manifests[0].annotations.at("k"), "v");
  EXPECT_EQ(written.manifests[0].platform->architecture, Platform::host().architecture);
}

TEST_F(SavedItem, LoadedForOnePlatformLeavesTheOthersOut) {
  SaveItem item;
  addIndex(layout, makeIndex(), item);
  item.names = {kA};
  const std::string tar = save(item);
  const Layout other = Layout::open(folder.path() + "/other");
  StringSource source{tar};
  const auto loaded = loadArchive(other, source, "t.tar", Platform{"linux", "riscv64", "", ""});
  EXPECT_EQ(loaded[0].id, foreign_.id);
  EXPECT_TRUE(hasBlob(other, foreign_.id));
  EXPECT_FALSE(hasBlob(other, own_.id));
  StringSource again{tar};
  const Error error = errorOf([&] {
    loadArchive(other, again, "t.tar", Platform{"linux", "s390x", "", ""});
  });
  EXPECT_EQ(error.code(), "platform-missing");
  EXPECT_EQ(error.cause(), "t.tar holds no image for the platform linux/s390x");
}

TEST_F(SavedItem, OfOneImageIsRefusedForAnotherPlatform) {
  for (const ArchiveFormat format : {ArchiveFormat::dockerArchive, ArchiveFormat::ociArchive}) {
    const SaveItem item{makeImage("1", {}), {kA}};
    StringSource source{save(item, format)};
    const Layout other = Layout::open(folder.path() + "/other");
    EXPECT_EQ(errorOf([&] {
                loadArchive(other, source, "t", Platform{"linux", "s390x", "", ""});
              }).code(),
              "platform-missing");
  }
}

}  // namespace
}  // namespace img::store
