#include "distribution/pull.h"

#include <unistd.h>
#include <zlib.h>

#include <algorithm>
#include <functional>

#include "base/process.h"
#include "distribution/pull_together.h"
#include "store/blobs.h"
#include "store/layers.h"
#include "store/partial_blob.h"
#include "tests/distribution/remote_fixture.h"
#include "tests/store/store_fixture.h"

namespace img::distribution::test {
namespace {

using store::test::errorOf;
using store::test::makeTar;
using store::test::TarFile;

std::string gzip(const std::string& plain) {
  std::string out(plain.size() + 1024, '\0');
  z_stream stream{};
  deflateInit2(&stream, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY);
  std::string in = plain;
  stream.next_in = reinterpret_cast<Bytef*>(in.data());
  stream.avail_in = static_cast<uInt>(in.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  deflate(&stream, Z_FINISH);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}

struct Heard : PullProgress {
  void layerStarted(const store::Descriptor&) override { ++started; }
  void layerDone(const store::Descriptor&, bool wasThere) override { ++(wasThere ? there : done); }
  void notice(const std::string& text) override {
    notices.push_back(text);
    if (onNotice) onNotice();
  }
  std::function<void()> onNotice;
  int started = 0, done = 0, there = 0;
  std::vector<std::string> notices;
};

struct LayerSource {
  std::string tar;
  bool isCompressed = true;
};

class PullTest : public FakeRegistry {
 protected:
  PullTest() : layout_(store::Layout::open(storeDir_.path() + "/store")) {
    ::setenv("IMG_DURABILITY", "fast", 1);
  }

  // An image of the registry; its manifest's descriptor.
  store::Descriptor addImage(const std::vector<LayerSource>& layers, const std::string& tag,
                             const std::string& architecture = {}) {
    store::ImageConfig config;
    config.platform = store::Platform::host();
    if (!architecture.empty()) config.platform.architecture = architecture;
    store::Manifest manifest;
    for (const LayerSource& layer : layers) {
      config.diffIds.push_back(Digest::of(layer.tar));
      manifest.layers.push_back(
          addBlob(layer.isCompressed ? gzip(layer.tar) : layer.tar,
                  layer.isCompressed ? store::media::kLayerGzip : store::media::kLayer));
    }
    manifest.config = addBlob(store::toJson(config), store::media::kConfig);
    layers_ = manifest.layers;
    config_ = manifest.config;
    store::Descriptor descriptor =
        addDocument(store::toJson(manifest), store::media::kManifest, tag);
    descriptor.platform = config.platform;
    return descriptor;
  }
  static LayerSource layerOf(const std::string& name, const std::string& content) {
    return {makeTar({{name, content}})};
  }

  Pulled pull(const std::string& name = "localhost:1/app:v1", PullPolicy policy = PullPolicy::newer,
              std::optional<store::Platform> platform = {}) {
    PullRequest request;
    request.reference = reference(name);
    request.policy = policy;
    request.platform = std::move(platform);
    const store::StoreUse use{layout_};
    return pullImage(layout_, request, heard_);
  }

  [[nodiscard]] std::string fileOf(const Digest& diffId, const std::string& name) const {
    const Fd view = store::Layers{layout_}.open(diffId);
    return fs::readFile(view.get(), name);
  }
  [[nodiscard]] size_t count(const std::string& prefix) const {
    const auto lines = requests();
    return static_cast<size_t>(std::count_if(
        lines.begin(), lines.end(), [&](const auto& line) { return line.starts_with(prefix); }));
  }
  [[nodiscard]] bool isStored(const store::Descriptor& blob) const {
    return store::hasBlob(layout_, blob.digest);
  }
  // Nothing but interrupted downloads lies in ingest/.
  [[nodiscard]] std::vector<std::string> partials() const {
    std::vector<std::string> names;
    for (const fs::Entry& entry : fs::listSorted(layout_.ingest())) {
      EXPECT_EQ(entry.name, "partial");
      const Fd folder = sys::openDirectory(layout_.ingest(), entry.name);
      for (const fs::Entry& file : fs::listSorted(folder.get())) names.push_back(file.name);
    }
    return names;
  }

  fs::TempDir storeDir_;
  store::Layout layout_;
  Heard heard_;
  std::vector<store::Descriptor> layers_;  // of the last image
  store::Descriptor config_;
};

TEST_F(PullTest, AnImageComesWithItsLayersAndItsName) {
  addImage({layerOf("a", "one"), {makeTar({{"b", "two"}}), false}}, "v1");
  const Pulled pulled = pull();
  EXPECT_TRUE(pulled.isNew);
  EXPECT_EQ(heard_.done, 2);
  const store::Image image = store::Images{layout_}.get("localhost:1/app:v1");
  EXPECT_EQ(image.id, pulled.image.id);
  for (const auto& layer : layers_) store::checkBlob(layout_, layer.digest);
  EXPECT_EQ(fileOf(image.config.diffIds[0], "a"), "one");
  EXPECT_EQ(fileOf(image.config.diffIds[1], "b"), "two");
  EXPECT_TRUE(partials().empty());
}

TEST_F(PullTest, AnUnchangedTagCostsOneHead) {
  addImage({layerOf("a", "one")}, "v1");
  pull();
  forgetRequests();
  EXPECT_FALSE(pull().isNew);
  EXPECT_EQ(requests(), std::vector<std::string>{"head v1"});
}

TEST_F(PullTest, AMovedTagBringsOnlyWhatIsNew) {
  addImage({layerOf("a", "one")}, "v1");
  const Digest old = pull().image.id;
  addImage({layerOf("a", "one"), layerOf("b", "two")}, "v1");
  forgetRequests();
  const Pulled moved = pull();
  EXPECT_TRUE(moved.isNew);
  EXPECT_NE(moved.image.id, old);
  EXPECT_EQ(store::Images{layout_}.get("localhost:1/app:v1").id, moved.image.id);
  EXPECT_EQ(count("blob"), 2);  // the config and one layer
}

TEST_F(PullTest, AnotherNameOfWhatIsHereCostsOneHead) {
  addImage({layerOf("a", "one")}, "v1");
  pull();
  addImage({layerOf("a", "one")}, "v2");
  forgetRequests();
  EXPECT_TRUE(pull("localhost:1/app:v2").isNew);
  EXPECT_EQ(requests(), std::vector<std::string>{"head v2"});
}

TEST_F(PullTest, ADigestThatIsHereCostsNothing) {
  const auto descriptor = addImage({layerOf("a", "one")}, "v1");
  const std::string name = "localhost:1/app@" + descriptor.digest.str();
  EXPECT_TRUE(pull(name).isNew);
  EXPECT_EQ(store::Images{layout_}.list().at(0).name, std::nullopt);
  forgetRequests();
  EXPECT_FALSE(pull(name).isNew);
  EXPECT_TRUE(requests().empty());
  EXPECT_EQ(store::Images{layout_}.get(name).manifestDescriptor.digest, descriptor.digest);
}

TEST_F(PullTest, PoliciesSayWhetherTheRegistryIsAsked) {
  addImage({layerOf("a", "one")}, "v1");
  const Error never = errorOf([&] { pull("localhost:1/app:v1", PullPolicy::never); });
  EXPECT_EQ(never.code(), "image-not-found");
  EXPECT_TRUE(requests().empty());
  EXPECT_TRUE(pull("localhost:1/app:v1", PullPolicy::missing).isNew);
  forgetRequests();
  EXPECT_FALSE(pull("localhost:1/app:v1", PullPolicy::missing).isNew);
  EXPECT_FALSE(pull("localhost:1/app:v1", PullPolicy::never).isNew);
  EXPECT_TRUE(requests().empty());
}

TEST_F(PullTest, OfAnIndexOnlyTheOwnPlatformComes) {
  store::Index index;
  index.manifests.push_back(addImage({layerOf("a", "other")}, "", "riscv64"));
  const auto foreign = layers_[0];
  index.manifests.push_back(addImage({layerOf("a", "own")}, ""));
  const auto top = addDocument(store::toJson(index), store::media::kIndex, "v1");
  const Pulled pulled = pull();
  EXPECT_EQ(fileOf(pulled.image.config.diffIds[0], "a"), "own");
  EXPECT_FALSE(isStored(foreign));
  EXPECT_FALSE(isStored(index.manifests[0]));
  EXPECT_EQ(store::Images{layout_}.list().at(0).descriptor.digest, top.digest);
  EXPECT_EQ(store::Images{layout_}.get("localhost:1/app:v1").id, pulled.image.id);
  // Another platform of it later.
  forgetRequests();
  store::Platform other = store::Platform::host();
  other.architecture = "riscv64";
  const Pulled second = pull("localhost:1/app:v1", PullPolicy::newer, other);
  EXPECT_TRUE(second.isNew);
  EXPECT_EQ(second.image.config.platform.architecture, "riscv64");
  EXPECT_EQ(count("manifest"), 1);
  EXPECT_TRUE(isStored(foreign));
}

TEST_F(PullTest, WithoutTheOwnPlatformAnIndexIsTheOneThatWasPulled) {
  store::Index index;
  index.manifests.push_back(addImage({layerOf("a", "own")}, ""));
  index.manifests.push_back(addImage({layerOf("a", "other")}, "", "riscv64"));
  addDocument(store::toJson(index), store::media::kIndex, "v1");
  store::Platform other = store::Platform::host();
  other.architecture = "riscv64";
  const Pulled pulled = pull("localhost:1/app:v1", PullPolicy::newer, other);
  EXPECT_EQ(store::Images{layout_}.get("localhost:1/app:v1").id, pulled.image.id);
}

TEST_F(PullTest, APlatformThatIsMissingIsSaidSo) {
  addImage({layerOf("a", "one")}, "v1");
  store::Platform other = store::Platform::host();
  other.architecture = "riscv64";
  const Error error = errorOf([&] { pull("localhost:1/app:v1", PullPolicy::newer, other); });
  EXPECT_EQ(error.code(), "platform-missing");
  EXPECT_EQ(store::Images{layout_}.list().size(), 0);
  addImage({layerOf("a", "one")}, "v2", "riscv64");
  pull("localhost:1/app:v2");
  ASSERT_EQ(heard_.notices.size(), 1);
  EXPECT_NE(heard_.notices[0].find("riscv64"), std::string::npos);
}

TEST_F(PullTest, ALayerThatAnImageHasTwiceComesOnce) {
  const LayerSource layer = layerOf("a", "one");
  addImage({layer, layerOf("b", "two"), layer}, "v1");
  pull();
  EXPECT_EQ(count("blob " + layers_[0].digest.str()), 1);
}

TEST_F(PullTest, AnEmptyLayerIsALayer) {
  addImage({{makeTar({})}, {makeTar({}), false}}, "v1");
  EXPECT_TRUE(pull().isNew);
}

TEST_F(PullTest, AnotherCompressionOfAKnownLayerIsStoredToo) {
  const std::string tar = makeTar({{"a", "one"}});
  addImage({{tar, true}}, "v1");
  pull();
  addImage({{tar, false}}, "v2");
  pull("localhost:1/app:v2");
  EXPECT_TRUE(isStored(layers_[0]));
}

TEST_F(PullTest, WrongBytesAreAskedForAgainOnce) {
  addImage({layerOf("a", "one")}, "v1");
  setFault(layers_[0].digest, "wrong\nfine");
  EXPECT_TRUE(pull().isNew);
  EXPECT_EQ(count("blob " + layers_[0].digest.str() + " 0 False"), 1);
  EXPECT_EQ(count("blob " + layers_[0].digest.str() + " 0 True"), 1);
}

TEST_F(PullTest, BytesThatStayWrongAreAnErrorWithBothDigests) {
  addImage({layerOf("a", "one")}, "v1");
  setFault(layers_[0].digest, "wrong");
  const Error error = errorOf([&] { pull(); });
  EXPECT_EQ(error.code(), "digest-mismatch");
  EXPECT_NE(error.cause().find(layers_[0].digest.str()), std::string::npos);
  std::string sent = read("blobs/" + layers_[0].digest.hex());
  for (char& byte : sent) byte = static_cast<char>(byte ^ 1);
  EXPECT_NE(error.why().find(Digest::of(sent).str()), std::string::npos) << error.why();
  EXPECT_FALSE(isStored(layers_[0]));
  EXPECT_TRUE(partials().empty());
  EXPECT_TRUE(store::Images{layout_}.list().empty());
}

TEST_F(PullTest, AWrongConfigIsAskedForAgainOnce) {
  addImage({layerOf("a", "one")}, "v1");
  setFault(config_.digest, "wrong\nfine");
  EXPECT_TRUE(pull().isNew);
  setFault(config_.digest, "wrong");
  addImage({layerOf("a", "two")}, "v2");
  setFault(config_.digest, "wrong");
  EXPECT_EQ(errorOf([&] { pull("localhost:1/app:v2"); }).code(), "digest-mismatch");
}

TEST_F(PullTest, ALostTransferGoesOnWhereItStopped) {
  addImage({layerOf("a", std::string(200'000, 'x') + fs::randomHex(20'000))}, "v1");
  const Digest digest = layers_[0].digest;
  setFault(digest, "short 5000\nshort 3000\nfine");
  const Error error = errorOf([&] { pull(); });
  EXPECT_EQ(error.code(), "unreachable");
  EXPECT_EQ(partials(), std::vector<std::string>{digest.hex()});
  EXPECT_TRUE(store::Images{layout_}.list().empty());
  errorOf([&] { pull(); });
  EXPECT_TRUE(pull().isNew);
  EXPECT_EQ(count("blob " + digest.str() + " 0 False"), 1);
  EXPECT_EQ(count("blob " + digest.str() + " 5000 False"), 1);
  EXPECT_EQ(count("blob " + digest.str() + " 8000 False"), 1);
  EXPECT_TRUE(partials().empty());
  store::checkBlob(layout_, digest);
}

TEST_F(PullTest, AFinishedDownloadIsNotAskedForAgain) {
  addImage({layerOf("a", "one")}, "v1");
  const Digest digest = layers_[0].digest;
  const Fd folder = fs::makeDirs(layout_.ingest(), "partial");
  fs::replaceFile(folder.get(), digest.hex(), read("blobs/" + digest.hex()), 0600, fs::Sync::none);
  EXPECT_TRUE(pull().isNew);
  EXPECT_EQ(count("blob " + digest.str()), 0);
}

TEST_F(PullTest, WhatAnInterruptedDownloadLeftIsNotTrusted) {
  addImage({layerOf("a", "one")}, "v1");
  const Digest digest = layers_[0].digest;
  const Fd folder = fs::makeDirs(layout_.ingest(), "partial");
  for (const std::string& left : {std::string(10, '\0'), std::string(100'000, 'x')}) {
    fs::replaceFile(folder.get(), digest.hex(), left, 0600, fs::Sync::none);
    EXPECT_TRUE(pull().isNew);
    store::checkBlob(layout_, digest);
    store::Images{layout_}.untag("localhost:1/app:v1");
    sys::unlinkat(layout_.blobs(), digest.hex(), 0);
  }
}

TEST_F(PullTest, AMissingBlobLeavesNothingThatCounts) {
  addImage({layerOf("a", "one"), layerOf("b", "two")}, "v1");
  setFault(layers_[1].digest, "gone");
  const Error error = errorOf([&] { pull(); });
  EXPECT_EQ(error.code(), "blob-unknown");
  EXPECT_TRUE(store::Images{layout_}.list().empty());
  for (const std::string& name : partials()) EXPECT_EQ(name, layers_[0].digest.hex());
}

TEST_F(PullTest, ALayerThatIsNotWhatTheConfigSaysIsRefused) {
  store::ImageConfig config;
  config.platform = store::Platform::host();
  config.diffIds = {Digest::of("something else")};
  store::Manifest manifest;
  manifest.config = addBlob(store::toJson(config), store::media::kConfig);
  manifest.layers = {addBlob(gzip(makeTar({{"a", "x"}})), store::media::kLayerGzip)};
  addDocument(store::toJson(manifest), store::media::kManifest, "v1");
  const Error error = errorOf([&] { pull(); });
  EXPECT_EQ(error.code(), "digest-mismatch");
  EXPECT_NE(error.cause().find("diff ID"), std::string::npos) << error.cause();
  EXPECT_EQ(count("blob " + manifest.layers[0].digest.str()), 1);  // the bytes were right
  EXPECT_TRUE(partials().empty());
  EXPECT_FALSE(isStored(manifest.layers[0]));
}

// security.md M10: a view that is here proves nothing about another blob.
TEST_F(PullTest, ABlobThatSaysToBeAKnownLayerIsRefused) {
  addImage({layerOf("a", "one")}, "v1");
  const Digest diffId = pull().image.config.diffIds[0];
  store::ImageConfig config;
  config.platform = store::Platform::host();
  config.diffIds = {diffId};
  store::Manifest manifest;
  manifest.config = addBlob(store::toJson(config), store::media::kConfig);
  manifest.layers = {addBlob(gzip(makeTar({{"a", "two"}})), store::media::kLayerGzip)};
  addDocument(store::toJson(manifest), store::media::kManifest, "v2");
  const Error error = errorOf([&] { pull("localhost:1/app:v2"); });
  EXPECT_EQ(error.code(), "digest-mismatch");
  EXPECT_NE(error.cause().find("diff ID"), std::string::npos) << error.cause();
  EXPECT_FALSE(isStored(manifest.layers[0]));
  EXPECT_TRUE(partials().empty());
}

TEST_F(PullTest, TwoKnownLayersCannotBeExchanged) {
  const LayerSource one = layerOf("a", "one"), two = layerOf("a", "two");
  addImage({one}, "v1");
  const Digest diffId = pull().image.config.diffIds[0];
  addImage({two}, "v2");
  pull("localhost:1/app:v2");
  store::ImageConfig config;
  config.platform = store::Platform::host();
  config.diffIds = {diffId};
  store::Manifest manifest;
  manifest.config = addBlob(store::toJson(config), store::media::kConfig);
  manifest.layers = {addBlob(gzip(two.tar), store::media::kLayerGzip)};
  addDocument(store::toJson(manifest), store::media::kManifest, "v3");
  const Error error = errorOf([&] { pull("localhost:1/app:v3"); });
  EXPECT_EQ(error.code(), "digest-mismatch");
  EXPECT_TRUE(isStored(manifest.layers[0]));  // v2 has it
  addImage({one, two}, "v4");
  EXPECT_TRUE(pull("localhost:1/app:v4").isNew);
}

// security.md L1
TEST_F(PullTest, NothingIsKeptOfALayerThatIsTooLarge) {
  addImage({{makeTar({{"a", std::string(100'000, 'x')}})}}, "v1");
  ::setenv("IMG_LIMIT_LAYER_BYTES", "50000", 1);
  const Error error = errorOf([&] { pull(); });
  ::unsetenv("IMG_LIMIT_LAYER_BYTES");
  EXPECT_EQ(error.code(), "limit");
  EXPECT_TRUE(partials().empty());
}

TEST_F(PullTest, WhoWaitsForTheDownloadOfAnotherIsToldOnce) {
  addImage({layerOf("a", "one"), layerOf("b", "two")}, "v1");
  auto [ours, theirs] = sys::socketPair();
  char byte = 0;
  const Child other = Child::fork([&] {
    const store::PartialBlob first{layout_, layers_[0].digest};
    const store::PartialBlob second{layout_, layers_[1].digest};
    writeAll(theirs.get(), "l", "that both are locked");
    return std::to_string(::read(theirs.get(), &byte, 1));
  });
  ASSERT_EQ(::read(ours.get(), &byte, 1), 1);
  heard_.onNotice = [&ours] { writeAll(ours.get(), "g", "that it may go on"); };
  EXPECT_TRUE(pull().isNew);
  ASSERT_EQ(heard_.notices.size(), 1);
  EXPECT_NE(heard_.notices[0].find("another process"), std::string::npos);
}

TEST_F(PullTest, TheMediaTypeOfALayerMustFitItsBytes) {
  const std::string tar = makeTar({{"a", "x"}});
  store::ImageConfig config;
  config.platform = store::Platform::host();
  config.diffIds = {Digest::of(tar)};
  store::Manifest manifest;
  manifest.config = addBlob(store::toJson(config), store::media::kConfig);
  manifest.layers = {addBlob(gzip(tar), store::media::kLayerZstd)};
  addDocument(store::toJson(manifest), store::media::kManifest, "v1");
  EXPECT_EQ(errorOf([&] { pull(); }).kind(), Kind::corrupt);
}

struct Hostile {
  const char* name;
  const char* type;   // as the registry sends it
  std::string bytes;  // CONFIG stands for a descriptor of a config
  const char* message;
};
void PrintTo(const Hostile& hostile, std::ostream* out) {
  *out << hostile.name;
}

class HostileDocument : public PullTest, public testing::WithParamInterface<Hostile> {};

TEST_P(HostileDocument, IsRefusedAndNotStored) {
  const Hostile& hostile = GetParam();
  std::string bytes = hostile.bytes;
  addImage({layerOf("a", "x")}, "");
  if (const size_t at = bytes.find("CONFIG"); at != std::string::npos)
    bytes.replace(at, 6, store::toJson(config_));
  const auto document = addDocument(bytes, hostile.type, "v1");
  const Error error = errorOf([&] { pull(); });
  EXPECT_NE((error.cause() + " " + error.why()).find(hostile.message), std::string::npos)
      << error.cause();
  EXPECT_TRUE(store::Images{layout_}.list().empty());
  EXPECT_FALSE(isStored(document));
}

constexpr char kZero[] = "sha256:0000000000000000000000000000000000000000000000000000000000000000";

INSTANTIATE_TEST_SUITE_P(
    Documents, HostileDocument,
    testing::Values(
        Hostile{"NoJson", store::media::kManifest, "hello", "byte"},
        Hostile{"NoObject", store::media::kManifest, "[]", "not a JSON object"},
        Hostile{"LayersAndManifests", store::media::kManifest,
                R"({"schemaVersion":2,"config":CONFIG,"layers":[],"manifests":[]})", "manifests"},
        Hostile{"SchemaOne", "application/vnd.docker.distribution.manifest.v1+prettyjws",
                R"({"schemaVersion":1,"fsLayers":[]})", "schema 1"},
        Hostile{"AnotherTypeThanSent", store::media::kIndex,
                std::string{R"({"schemaVersion":2,"mediaType":")"} + store::media::kManifest +
                    R"(","config":CONFIG,"layers":[]})",
                "it says it is"},
        Hostile{
            "Artifact", store::media::kManifest,
            std::string{R"({"schemaVersion":2,"config":{"mediaType":"application/x","digest":")"} +
                kZero + R"(","size":2},"layers":[]})",
            "artifact"},
        Hostile{
            "UnknownLayerType", store::media::kManifest,
            std::string{
                R"({"schemaVersion":2,"config":CONFIG,"layers":[{"mediaType":"x/y","digest":")"} +
                kZero + R"(","size":2}]})",
            "layer type"},
        Hostile{"NegativeSize", store::media::kManifest,
                std::string{R"({"schemaVersion":2,"config":CONFIG,"layers":[{"mediaType":)"
                            R"("application/vnd.oci.image.layer.v1.tar","digest":")"} +
                    kZero + R"(","size":-2}]})",
                "size"},
        Hostile{"OtherHash", store::media::kManifest,
                R"({"schemaVersion":2,"config":CONFIG,"layers":[{"mediaType":)"
                R"("application/vnd.oci.image.layer.v1.tar","digest":"md5:00","size":2}]})",
                "digest"}),
    [](const auto& test) { return std::string{test.param.name}; });

TEST_F(PullTest, ALayerThatIsNotDistributableHasToBeHere) {
  const std::string tar = makeTar({{"a", "x"}});
  store::ImageConfig config;
  config.platform = store::Platform::host();
  config.diffIds = {Digest::of(tar)};
  store::Manifest manifest;
  manifest.config = addBlob(store::toJson(config), store::media::kConfig);
  manifest.layers = {addBlob(tar, "application/vnd.oci.image.layer.nondistributable.v1.tar")};
  addDocument(store::toJson(manifest), store::media::kManifest, "v1");
  const Error error = errorOf([&] { pull(); });
  EXPECT_NE(error.cause().find("not distributed"), std::string::npos) << error.cause();
  EXPECT_EQ(count("blob " + manifest.layers[0].digest.str()), 0);
  store::putBlob(layout_, tar, "");
  EXPECT_TRUE(pull().isNew);
}

TEST_F(PullTest, NestedIndexesEndSomewhere) {
  store::Descriptor inner = addImage({layerOf("a", "x")}, "");
  for (int depth = 0; depth < 6; ++depth) {
    store::Index index;
    inner.platform = store::Platform::host();
    index.manifests.push_back(inner);
    inner = addDocument(store::toJson(index), store::media::kIndex, "v1");
    if (depth == 3) {
      EXPECT_TRUE(pull().isNew);
    }
  }
  EXPECT_NE(errorOf([&] { pull(); }).cause().find("nested"), std::string::npos);
}

TEST_F(PullTest, AnImageThatTheRegistryLacksIsNamed) {
  const Error error = errorOf([&] { pull("localhost:1/app:v9"); });
  EXPECT_EQ(error.code(), "manifest-unknown");
  EXPECT_NE(error.cause().find("localhost:1/app:v9"), std::string::npos);
}

TEST_F(PullTest, ImagesThatAreWantedTogetherComeSideBySideAndFailAlone) {
  std::vector<PullRequest> wanted;
  for (const char* tag : {"v1", "v2", "missing", "v3", "v4"}) {
    PullRequest request;
    request.reference = reference(std::string{"localhost:1/app:"} + tag);
    wanted.push_back(request);
    if (tag != std::string_view{"missing"})
      addImage({layerOf("a", "shared"), layerOf("b", tag)}, tag);
  }
  const store::StoreUse use{layout_};
  const auto failures = pullTogether(layout_, wanted, heard_);
  ASSERT_EQ(failures.size(), wanted.size());
  for (size_t i = 0; i < wanted.size(); ++i) {
    const std::string name = wanted[i].reference.full();
    EXPECT_EQ(failures[i].has_value(), wanted[i].reference.tag == "missing") << name;
    EXPECT_EQ(store::Images{layout_}.find(name).has_value(), !failures[i]) << name;
  }
  EXPECT_EQ(failures[2]->code(), "manifest-unknown");
  EXPECT_EQ(heard_.done, 5);  // the shared layer once
  EXPECT_EQ(heard_.there, 3);
  EXPECT_TRUE(partials().empty());
}

TEST_F(PullTest, ADamagedDocumentOfTheStoreComesAgain) {
  const auto descriptor = addImage({layerOf("a", "one")}, "v1");
  pull();
  for (const Digest& digest : {descriptor.digest, config_.digest}) {
    sys::unlinkat(layout_.blobs(), digest.hex(), 0);
    fs::replaceFile(layout_.blobs(), digest.hex(), std::string(20, 'x'), 0444, fs::Sync::none);
    pull();
    store::checkBlob(layout_, digest);
  }
}

}  // namespace
}  // namespace img::distribution::test
