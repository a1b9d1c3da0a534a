#include "store/images.h"

#include <cstdlib>
#include <set>

#include "base/process.h"
#include "store/layers.h"
#include "tests/store/store_fixture.h"

namespace img::store {
namespace {

using test::errorOf;
using Strings = std::vector<std::string>;

constexpr char kA[] = "docker.io/library/a:latest";
constexpr char kB[] = "docker.io/library/b:latest";

class ImagesTest : public test::StoreTest {
 protected:
  Images images{layout};
};

TEST_F(ImagesTest, EachNameHasOneDescriptor) {
  const Image image = makeImage("1", {kA, kB});
  EXPECT_EQ(names(), (Strings{kA, kB}));
  EXPECT_EQ(images.get("a").id, image.id);
  EXPECT_EQ(images.get("b:latest").id, image.id);
  const Index index = parseIndex(fs::readFile(layout.fd(), "index.json"), "index");
  EXPECT_EQ(index.manifests[0].mediaType, media::kManifest);
  EXPECT_EQ(index.manifests[0].annotations.at(kRefName), kA);
}

TEST_F(ImagesTest, RetaggingMovesTheNameAndPilesNothingUp) {
  makeImage("1", {kA});
  const Image second = makeImage("2", {kA});
  EXPECT_EQ(names(), Strings{kA});
  EXPECT_EQ(images.get("a").id, second.id);
}

TEST_F(ImagesTest, RetaggingKeepsAnImageThatAContainerUses) {
  const Image first = makeImage("1", {kA});
  makeContainer(std::string(64, 'c'), first);
  makeImage("2", {kA});
  EXPECT_EQ(names(), (Strings{kA, "<none>"}));
  EXPECT_EQ(images.get(first.id.str()).id, first.id);
}

TEST_F(ImagesTest, RetaggingKeepsTheOtherNamesOfTheOldImage) {
  const Image first = makeImage("1", {kA, kB});
  makeImage("2", {kA});
  EXPECT_EQ(names(), (Strings{kB, kA}));
  EXPECT_EQ(images.get("b").id, first.id);
}

TEST_F(ImagesTest, PublishingTheSameAgainWritesNothing) {
  const Image image = makeImage("1", {kA});
  const auto before = sys::fstatat(layout.fd(), "index.json");
  images.publish(image.manifestDescriptor, {kA});
  EXPECT_EQ(sys::fstatat(layout.fd(), "index.json").st_ino, before.st_ino);
}

TEST_F(ImagesTest, AreStoredWithFsyncToo) {
  ::unsetenv("IMG_DURABILITY");
  const Image image = makeImage("1", {kA});
  EXPECT_EQ(images.get("a").id, image.id);
  EXPECT_EQ(names(), Strings{kA});
}

TEST_F(ImagesTest, ANamelessImageIsStoredOnceAndLosesItsNamelessEntryWhenNamed) {
  const Image image = makeImage("1", {});
  images.publish(image.manifestDescriptor, {});
  EXPECT_EQ(names(), Strings{"<none>"});
  images.publish(image.manifestDescriptor, {kA});
  EXPECT_EQ(names(), Strings{kA});
}

TEST_F(ImagesTest, AManifestThatIsNotInTheStoreIsNotPublished) {
  Descriptor descriptor;
  descriptor.mediaType = media::kManifest;
  descriptor.digest = Digest::of("nothing");
  EXPECT_EQ(errorOf([&] { images.publish(descriptor, {kA}); }).kind(), Kind::notFound);
  EXPECT_TRUE(names().empty());
}

TEST_F(ImagesTest, AreFoundByNameLocalNameIdAndPrefix) {
  const Image image = makeImage("1", {"localhost/mine:latest"});
  for (const std::string& argument :
       {std::string{"mine"}, std::string{"localhost/mine"}, image.id.str(), image.id.hex(),
        image.id.shortHex(), "sha256:" + image.id.shortHex(),
        "mine@" + image.manifestDescriptor.digest.str()}) {
    const auto found = images.find(argument);
    ASSERT_TRUE(found) << argument;
    EXPECT_EQ(found->id, image.id);
  }
  EXPECT_FALSE(images.find("docker.io/library/mine"));
  EXPECT_FALSE(images.find("other"));
  EXPECT_FALSE(images.find(std::string(64, '0')));
}

TEST_F(ImagesTest, AnExactNameWinsOverAnIdPrefix) {
  const Image first = makeImage("1", {});
  const std::string prefix = first.id.hex().substr(0, 4);
  const Image second = makeImage("2", {"docker.io/library/" + prefix + ":latest"});
  EXPECT_EQ(images.get(prefix).id, second.id);
}

TEST_F(ImagesTest, AnAmbiguousPrefixListsTheCandidates) {
  std::set<char> firsts;
  for (int i = 0;; ++i) {  // 17 images share a first digit for sure
    const Image image = makeImage(std::to_string(i), {});
    const char first = image.id.hex()[0];
    if (firsts.insert(first).second) continue;
    const Error error = errorOf([&] { images.get(std::string{"sha256:"} + first); });
    EXPECT_EQ(error.code(), "ambiguous-id");
    EXPECT_NE(error.why().find(image.id.str()), std::string::npos);
    return;
  }
}

TEST_F(ImagesTest, AMissingImageAndABadNameAreDifferentErrors) {
  EXPECT_EQ(errorOf([&] { images.get("nothing"); }).code(), "image-not-found");
  EXPECT_EQ(errorOf([&] { images.get("No/Upper/Case"); }).kind(), Kind::usage);
}

TEST_F(ImagesTest, UntaggingTheLastNameRemovesTheImage) {
  makeImage("1", {kA, kB});
  EXPECT_FALSE(images.untag(kA));
  EXPECT_TRUE(images.untag(kB));
  EXPECT_TRUE(names().empty());
  EXPECT_EQ(errorOf([&] { images.untag(kB); }).kind(), Kind::notFound);
}

TEST_F(ImagesTest, UntaggingKeepsAnImageThatAContainerUses) {
  const Image image = makeImage("1", {kA});
  makeContainer(std::string(64, 'd'), image);
  EXPECT_FALSE(images.untag(kA));
  EXPECT_EQ(names(), Strings{"<none>"});
}

TEST_F(ImagesTest, RemoveDropsAllNames) {
  const Image image = makeImage("1", {kA, kB});
  makeImage("2", {"docker.io/library/c:latest"});
  images.remove(image.manifestDescriptor.digest);
  EXPECT_EQ(names(), Strings{"docker.io/library/c:latest"});
}

TEST_F(ImagesTest, AMultiPlatformIndexResolvesToThisMachine) {
  const Image other = makeImage("other", {});
  const Image own = makeImage("own", {});
  Index index;
  index.manifests = {other.manifestDescriptor, own.manifestDescriptor};
  index.manifests[0].platform = Platform{"linux", "pdp11", "", ""};
  index.manifests[1].platform = Platform::host();
  const Descriptor top = putBlob(layout, toJson(index), media::kIndex);
  images.publish(top, {kA});
  EXPECT_EQ(images.get("a").id, own.id);
  index.manifests.pop_back();
  images.publish(putBlob(layout, toJson(index), media::kIndex), {kB});
  EXPECT_EQ(images.get("b").id, other.id) << "nobody asked for a platform, and no other is here";
  index.manifests[0].digest = Digest::of("elsewhere");
  images.publish(putBlob(layout, toJson(index), media::kIndex), {kB});
  EXPECT_NE(errorOf([&] { images.get("b"); }).why().find("linux/pdp11"), std::string::npos);
}

TEST_F(ImagesTest, AnImageWhoseConfigWasChangedIsCorrupt) {
  const Image image = makeImage("1", {kA});
  fs::replaceFile(layout.blobs(), image.id.hex(), "{}", 0444, fs::Sync::none);
  EXPECT_EQ(errorOf([&] { images.get("a"); }).code(), "digest-mismatch");
}

TEST_F(ImagesTest, AnIndexThatNeverEndsIsRefused) {
  Descriptor inner = makeImage("1", {}).manifestDescriptor;
  for (int i = 0; i < 6; ++i) {
    Index index;
    index.manifests = {inner};
    inner = putBlob(layout, toJson(index), media::kIndex);
  }
  EXPECT_EQ(errorOf([&] { images.load(inner); }).kind(), Kind::corrupt);
}

TEST_F(ImagesTest, LayersAndDiffIdsMustBeEqualInNumber) {
  ImageConfig config;
  config.diffIds = {Digest::of("x")};
  EXPECT_EQ(errorOf([&] { writeImage(layout, config, {}); }).kind(), Kind::corrupt);
}

TEST_F(ImagesTest, TwentyProcessesPublishingAtOnceLoseNoName) {
  std::vector<Child> children;
  for (int i = 0; i < 20; ++i) {
    children.push_back(Child::fork([this, i] {
      for (int k = 0; k < 5; ++k)
        makeImage(std::to_string(i), {fmt::format("docker.io/library/n{}-{}:latest", i, k)});
      return std::string{};
    }));
  }
  for (Child& child : children) child.finish();
  const Strings all = names();
  EXPECT_EQ(all.size(), 100U);
  EXPECT_EQ((std::set<std::string>{all.begin(), all.end()}.size()), 100U);
}

TEST_F(ImagesTest, AProcessKilledBeforeTheRenameLeavesTheOldIndex) {
  makeImage("1", {kA});
  Child child = Child::fork([this] {
    ::setenv("IMG_FAILPOINT", "images.beforeRename", 1);
    return makeImage("2", {kB}).id.str();
  });
  EXPECT_THROW(child.finish(), Error);
  const Layout again = Layout::open(layout.root());
  EXPECT_EQ(names(), Strings{kA});
  makeImage("2", {kB});
  EXPECT_EQ(names(), (Strings{kA, kB}));
  EXPECT_FALSE(sys::tryFstatat(again.fd(), "index.json.new"));
}

struct NameCase {
  const char* name;
  std::map<std::string, std::string> annotations;
  std::optional<std::string> expected;
};
void PrintTo(const NameCase& c, std::ostream* out) {
  *out << c.name;
}

class ImageNames : public testing::TestWithParam<NameCase> {};
TEST_P(ImageNames, FollowTheAnnotations) {
  Descriptor descriptor;
  descriptor.annotations = GetParam().annotations;
  EXPECT_EQ(imageNameOf(descriptor), GetParam().expected);
}
constexpr char kContainerd[] = "io.containerd.image.name";
INSTANTIATE_TEST_SUITE_P(
    Table, ImageNames,
    testing::Values(NameCase{"None", {}, std::nullopt},
                    NameCase{"Latest", {{kRefName, "latest"}}, std::nullopt},
                    NameCase{"Plain", {{kRefName, "app"}}, "docker.io/library/app:latest"},
                    NameCase{"Full", {{kRefName, "quay.io/x/y:1"}}, "quay.io/x/y:1"},
                    NameCase{"Containerd",
                             {{kContainerd, "docker.io/library/z:2"}, {kRefName, "2"}},
                             "docker.io/library/z:2"},
                    NameCase{"FreeText", {{kRefName, "Hello World"}}, std::nullopt},
                    NameCase{"Traversal", {{kRefName, "../../x"}}, std::nullopt}),
    [](const auto& test) { return std::string{test.param.name}; });

// What collect() keeps and frees
// -------------------------------------------------------------------

class GarbageTest : public ImagesTest {
 protected:
  bool hasAll(const Image& image) const {
    return hasBlob(layout, image.manifestDescriptor.digest) && hasBlob(layout, image.id) &&
           hasBlob(layout, image.manifest.layers[0].digest);
  }
  // A view as the runtime finds it, without unpacking.
  void makeView(const Digest& diffId) {
    fs::makeDirs(layout.fd(), "ingest/view").reset();
    Layers{layout}.adopt("ingest/view", diffId, 1, 1);
  }
};

TEST_F(GarbageTest, OnlyWhatARemovedImageAloneNeededGoes) {
  const Image kept = makeImage("kept", {kA});
  const Image gone = makeImage("gone", {kB});
  makeView(kept.config.diffIds[0]);
  makeView(gone.config.diffIds[0]);
  images.untag(kB);
  const Images::Freed freed = images.collect();
  EXPECT_EQ(freed.layers, gone.config.diffIds);
  EXPECT_GT(freed.bytes, 0U);
  EXPECT_TRUE(hasAll(kept));
  EXPECT_FALSE(hasBlob(layout, gone.id));
  EXPECT_FALSE(hasBlob(layout, gone.manifest.layers[0].digest));
  EXPECT_TRUE(Layers{layout}.has(kept.config.diffIds[0]));
  EXPECT_FALSE(Layers{layout}.has(gone.config.diffIds[0]));
  EXPECT_EQ(countIn("trash"), 0U);
}

TEST_F(GarbageTest, ALayerThatWasNeverUnpackedIsReportedToo) {
  const Image gone = makeImage("gone", {kB});
  images.untag(kB);
  EXPECT_EQ(images.collect().layers, gone.config.diffIds);
}

TEST_F(GarbageTest, ACleanStoreHasNone) {
  const Image image = makeImage("1", {kA});
  EXPECT_EQ(images.collect().bytes, 0U);
  EXPECT_TRUE(hasAll(image));
}

TEST_F(GarbageTest, ContainersKeepTheirLayersAndImages) {
  const Image image = makeImage("1", {kA});
  makeView(image.config.diffIds[0]);
  makeContainer(std::string(64, 'e'), image);
  images.untag(kA);
  images.collect();
  EXPECT_TRUE(hasAll(image));
  EXPECT_TRUE(Layers{layout}.has(image.config.diffIds[0]));
}

TEST_F(GarbageTest, CacheRecordsKeepTheirLayer) {
  const Image image = makeImage("1", {kA});
  makeView(image.config.diffIds[0]);
  fs::replaceFile(layout.fd(), "cache/steps/key",
                  R"({"record":{"layer":)" + toJson(image.manifest.layers[0]) + R"(,"diff_id":")" +
                      image.config.diffIds[0].str() + R"("},"sha256":""})",
                  0644, fs::Sync::none);
  fs::replaceFile(layout.fd(), "cache/steps/broken", "{", 0644, fs::Sync::none);
  images.untag(kA);
  EXPECT_TRUE(images.collect().layers.empty());
  EXPECT_FALSE(hasBlob(layout, image.id));
  EXPECT_TRUE(hasBlob(layout, image.manifest.layers[0].digest));
  EXPECT_TRUE(Layers{layout}.has(image.config.diffIds[0]));
}

TEST_F(GarbageTest, PlatformsOfAnIndexAreKept) {
  const Image image = makeImage("1", {});
  Index index;
  index.manifests = {image.manifestDescriptor};
  images.publish(putBlob(layout, toJson(index), media::kIndex), {kA});
  images.remove(image.manifestDescriptor.digest);
  images.collect();
  EXPECT_TRUE(hasAll(image));
}

}  // namespace
}  // namespace img::store
