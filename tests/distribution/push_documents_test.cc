#include "distribution/push_documents.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/json.h"
#include "base/sys.h"
#include "store/blobs.h"
#include "store/images.h"
#include "support.h"

namespace img::distribution {
namespace {

namespace media = store::media;

struct StoredImage {
  store::Image image;
  store::Descriptor layer;
};

class PushDocuments : public testing::Test {
 protected:
  // One layer of the given type; its bytes do not matter here.
  StoredImage stored(const std::string& layerType, const char* manifestType = media::kManifest) {
    StoredImage result;
    result.layer = store::putBlob(layout, "layer of " + layerType, layerType);
    store::ImageConfig config;
    config.platform = {"linux", "amd64", "", ""};
    config.diffIds = {Digest::of("the tar")};
    store::Manifest manifest;
    manifest.mediaType = manifestType;
    manifest.layers = {result.layer};
    manifest.annotations = {{"k", "v"}};
    result.image = store::writeManifest(layout, config, manifest);
    return result;
  }
  std::vector<PushedDocument> read(const StoredImage& image, const PushForm& form) const {
    return readDocuments(layout, image.image.manifestDescriptor, form);
  }
  static PushForm form(std::optional<Compression> kind, bool isForced = false,
                       std::optional<bool> isDocker = {}, std::optional<int> level = {}) {
    PushForm result;
    result.compression = kind;
    result.isForced = isForced;
    result.isDocker = isDocker;
    result.level = level;
    return result;
  }

  fs::TempDir folder;
  store::Layout layout = store::Layout::open(folder.path() + "/store");
};

struct FormCase {
  std::string_view name, layerType;
  std::optional<Compression> wanted;
  bool isForced;
  std::optional<bool> isDocker;
  std::optional<int> level;
  std::optional<Compression> result;  // nullopt: as it is
};
void PrintTo(const FormCase& c, std::ostream* out) {
  *out << c.name;
}
constexpr auto kNone = Compression::none;
constexpr auto kGzip = Compression::gzip;
constexpr auto kZstd = Compression::zstd;
const FormCase kForms[] = {
    {"PlainBecomesGzip", media::kLayer, {}, false, {}, {}, kGzip},
    {"PlainBecomesWhatIsAsked", media::kLayer, kZstd, false, {}, {}, kZstd},
    {"PlainStaysWhenAsked", media::kLayer, kNone, false, {}, {}, {}},
    {"GzipStays", media::kLayerGzip, {}, false, {}, {}, {}},
    {"GzipStaysWithoutForce", media::kLayerGzip, kZstd, false, {}, {}, {}},
    {"GzipChangesWithForce", media::kLayerGzip, kZstd, true, {}, {}, kZstd},
    {"GzipToNothingWithForce", media::kLayerGzip, kNone, true, {}, {}, kNone},
    {"SameKindStaysWithForce", media::kLayerGzip, kGzip, true, {}, {}, {}},
    {"ALevelWithForceIsAnew", media::kLayerGzip, kGzip, true, {}, 9, kGzip},
    {"ZstdStays", media::kLayerZstd, {}, false, {}, {}, {}},
    {"DockerReadsNoZstd", media::kLayerZstd, {}, false, true, {}, kGzip},
    {"PlainForDockerIsGzip", media::kLayer, {}, false, true, {}, kGzip},
};
class Forms : public PushDocuments, public testing::WithParamInterface<FormCase> {};
TEST_P(Forms, FollowOptionsAndLayer) {
  const FormCase& c = GetParam();
  const auto documents =
      read(stored(std::string{c.layerType}), form(c.wanted, c.isForced, c.isDocker, c.level));
  ASSERT_EQ(documents.size(), 1U);
  const PushedBlob& layer = documents[0].blobs[0];
  EXPECT_EQ(layer.form.has_value(), c.result.has_value());
  if (layer.form && c.result) {
    EXPECT_EQ(layer.form->kind, *c.result);
  }
  EXPECT_EQ(layer.diffId, Digest::of("the tar"));
}
INSTANTIATE_TEST_SUITE_P(Layers, Forms, testing::ValuesIn(kForms),
                         [](const auto& test) { return std::string{test.param.name}; });

TEST_F(PushDocuments, WhatDoesNotChangeKeepsItsBytes) {
  const StoredImage image = stored(media::kLayerGzip);
  const auto documents = read(image, {});
  const PushedDocument same = convertDocument(documents[0], {});
  EXPECT_EQ(same.descriptor.digest, image.image.manifestDescriptor.digest);
  EXPECT_EQ(same.bytes, documents[0].bytes);
}

TEST_F(PushDocuments, ANewLayerTakesTheOldOnesPlace) {
  const StoredImage image = stored(media::kLayer);
  store::Descriptor packed;
  packed.mediaType = media::kLayerGzip;
  packed.digest = Digest::of("packed");
  packed.size = 6;
  const PushedDocument result = convertDocument(read(image, {})[0], {{image.layer.digest, packed}});
  const store::Manifest manifest = store::parseManifest(result.bytes, "test");
  EXPECT_EQ(manifest.layers[0].digest, packed.digest);
  EXPECT_EQ(manifest.layers[0].size, 6U);
  EXPECT_EQ(manifest.layers[0].mediaType, media::kLayerGzip);
  EXPECT_EQ(manifest.config.digest, image.image.id);
  EXPECT_EQ(manifest.annotations.at("k"), "v");
  EXPECT_EQ(result.descriptor.digest, Digest::of(result.bytes));
}

TEST_F(PushDocuments, DockersFormHasItsTypesAndNoAnnotations) {
  const StoredImage image = stored(media::kLayerGzip);
  const PushedDocument docker = convertDocument(read(image, form({}, false, true))[0], {});
  const Json json = parseJson(docker.bytes, "test");
  EXPECT_EQ(json["mediaType"], media::kDockerManifest);
  EXPECT_EQ(json["config"]["mediaType"], media::kDockerConfig);
  EXPECT_EQ(json["layers"][0]["mediaType"], media::kDockerLayerGzip);
  EXPECT_FALSE(json.contains("annotations"));
  EXPECT_EQ(docker.descriptor.mediaType, media::kDockerManifest);
}

TEST_F(PushDocuments, ZstdMakesAnOciImageOfADockerOne) {
  const StoredImage image = stored(media::kDockerLayer, media::kDockerManifest);
  EXPECT_TRUE(read(image, {})[0].isDocker);
  EXPECT_FALSE(read(image, form(kZstd))[0].isDocker);
}

TEST_F(PushDocuments, FieldsThatNobodyKnowsStay) {
  const StoredImage image = stored(media::kLayer);
  Json json = parseJson(store::readDocument(layout, image.image.manifestDescriptor), "test");
  json["subject"] = {{"digest", Digest::of("s").str()}, {"size", 1}, {"mediaType", "x/y"}};
  json["layers"][0]["annotations"] = {{"a", "b"}};
  store::Descriptor manifest = store::putBlob(layout, dumpJson(json), media::kManifest);
  const auto documents = readDocuments(layout, manifest, {});
  store::Descriptor packed = image.layer;
  packed.mediaType = media::kLayerZstd;
  packed.digest = Digest::of("packed");
  const PushedDocument result = convertDocument(documents[0], {{image.layer.digest, packed}});
  const Json converted = parseJson(result.bytes, "test");
  EXPECT_EQ(converted["subject"], json["subject"]);
  EXPECT_EQ(converted["layers"][0]["annotations"]["a"], "b");
  EXPECT_EQ(converted["layers"][0]["mediaType"], media::kLayerZstd);
}

TEST_F(PushDocuments, AnIndexFollowsItsChildren) {
  const StoredImage one = stored(media::kLayer);
  const StoredImage two = stored(media::kLayerGzip);
  store::Index index;
  index.manifests = {one.image.manifestDescriptor, two.image.manifestDescriptor};
  index.manifests[0].platform = store::Platform{"linux", "amd64", "", ""};
  const store::Descriptor top = store::putBlob(layout, store::toJson(index), media::kIndex);
  EXPECT_TRUE(isWhole(layout, top));
  const auto documents = readDocuments(layout, top, {});
  ASSERT_EQ(documents.size(), 3U);
  EXPECT_TRUE(documents[2].isIndex);
  EXPECT_EQ(convertDocument(documents[2], {}).descriptor.digest, top.digest);
  store::Descriptor other = one.image.manifestDescriptor;
  other.digest = Digest::of("other");
  other.size = 5;
  const PushedDocument result =
      convertDocument(documents[2], {{one.image.manifestDescriptor.digest, other}});
  const store::Index converted = store::parseIndex(result.bytes, "test");
  EXPECT_EQ(converted.manifests[0].digest, other.digest);
  EXPECT_EQ(converted.manifests[0].platform->architecture, "amd64");
  EXPECT_EQ(converted.manifests[1].digest, two.image.manifestDescriptor.digest);
  sys::unlinkat(layout.fd(), layout.blobPath(two.layer.digest), 0);
  EXPECT_FALSE(isWhole(layout, top));
}

TEST_F(PushDocuments, ForeignLayersAreNotSent) {
  const StoredImage image = stored("application/vnd.oci.image.layer.nondistributable.v1.tar+gzip");
  const auto documents = read(image, {});
  ASSERT_EQ(documents[0].blobs.size(), 1U);
  EXPECT_EQ(documents[0].blobs[0].stored.digest, image.image.id);
}

TEST_F(PushDocuments, PlacesAreRememberedNewestFirst) {
  const Digest blob = Digest::of("blob");
  EXPECT_TRUE(placesOf(layout, blob).empty());
  for (int i = 0; i < 12; ++i)
    rememberPlace(layout, blob, store::Reference::parse(fmt::format("r.example/n{}:tag", i)));
  rememberPlace(layout, blob, store::Reference::parse("r.example/n7"));
  const auto places = placesOf(layout, blob);
  ASSERT_EQ(places.size(), 8U);
  EXPECT_EQ(places[0].repository(), "r.example/n7");
  EXPECT_EQ(places[1].repository(), "r.example/n11");
}

TEST_F(PushDocuments, ADamagedPlaceIsNone) {
  const Digest blob = Digest::of("blob");
  rememberPlace(layout, blob, store::Reference::parse("r.example/a"));
  fs::replaceFile(layout.fd(), "cache/places/" + blob.hex(), "r.example/A\n\nr.example/b\n", 0600,
                  fs::Sync::none);
  const auto places = placesOf(layout, blob);
  ASSERT_EQ(places.size(), 1U);
  EXPECT_EQ(places[0].repository(), "r.example/b");
}

}  // namespace
}  // namespace img::distribution
