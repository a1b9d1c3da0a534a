#include "store/layers.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <zlib.h>

#include <functional>
#include <ostream>
#include <set>

#include "base/process.h"
#include "store/archive.h"
#include "store/blobs.h"
#include "store/layer_view.h"
#include "store/overlay.h"
#include "store/small_layer.h"
#include "store/tar.h"
#include "store/union_copy.h"
#include "tests/store/erofs_helpers.h"
#include "tests/store/store_fixture.h"

namespace img::store {
namespace {

using test::errorOf;
using test::makeTar;

std::string gzip(std::string_view text) {
  z_stream stream{};
  EXPECT_EQ(deflateInit2(&stream, 1, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY), Z_OK);
  std::string out(text.size() + 1024, '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
  stream.avail_in = static_cast<uInt>(text.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  EXPECT_EQ(deflate(&stream, Z_FINISH), Z_STREAM_END);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}

// For both views.
class LayersTest : public test::StoreTest, public testing::WithParamInterface<LayerView> {
 protected:
  void SetUp() override {
    if (!test::isRoot()) GTEST_SKIP() << "unpacking with owners needs root";
    if (isErofs() && !testing_erofs::canMount())
      GTEST_SKIP() << "this kernel mounts no EROFS from files";
    ::setenv("IMG_LAYER_VIEW", layerViewName(GetParam()), 1);
  }
  void TearDown() override { ::unsetenv("IMG_LAYER_VIEW"); }
  static bool isErofs() { return GetParam() == LayerView::erofs; }
  std::string contentOf(const Digest& id) { return fs::readFile(layers.open(id).get(), "file"); }
  void rewriteMeta(const Digest& id, std::string_view text) {
    fs::replaceFile(layout.fd(), layout.layerPath(id) + "/meta", text, 0644, fs::Sync::none);
  }
  const std::string tar = makeTar({{"file", "content"}, {"dir", "", TarEntry::Type::directory}});
  const Digest diffId = Digest::of(tar);
  const Layers layers{layout};
};

TEST_P(LayersTest, AreUnpackedFromTheirBlob) {
  EXPECT_FALSE(layers.has(diffId));
  EXPECT_EQ(errorOf([&] { std::ignore = layers.open(diffId); }).kind(), Kind::notFound);
  layers.ensure(diffId, putBlob(layout, tar, media::kLayer));
  EXPECT_TRUE(layers.has(diffId));
  EXPECT_EQ(contentOf(diffId), "content");
  EXPECT_EQ(layers.sizeOf(diffId), 7U);
  EXPECT_EQ(sys::fstat(layers.open(diffId).get()).st_mode & 07777, 0755U);
  EXPECT_EQ(countIn("ingest"), 0U);
}

TEST_P(LayersTest, MayBeCompressed) {
  layers.ensure(diffId, putBlob(layout, gzip(tar), media::kLayerGzip));
  EXPECT_EQ(contentOf(diffId), "content");
}

TEST_P(LayersTest, OfAnotherDiffIdAreCorrupt) {
  const Digest wrong = Digest::of("wrong");
  const Error error = errorOf([&] { layers.ensure(wrong, putBlob(layout, tar, media::kLayer)); });
  EXPECT_EQ(error.code(), "digest-mismatch");
  EXPECT_FALSE(layers.has(wrong));
  EXPECT_EQ(countIn("layers"), 0U);
  EXPECT_EQ(countIn("ingest"), 0U);
}

TEST_P(LayersTest, NameTheBlobThatIsDamaged) {
  const Descriptor blob = putBlob(layout, tar, media::kLayer);
  std::string broken = tar;
  // In a header, where unpacking fails, and in a file's content, where only the digest tells.
  for (const size_t at : {size_t{10}, tar.find("content")}) {
    broken[at] ^= 1;
    fs::replaceFile(layout.blobs(), blob.digest.hex(), broken, 0444, fs::Sync::none);
    const Error error = errorOf([&] { layers.ensure(diffId, blob); });
    EXPECT_EQ(error.code(), "digest-mismatch") << at;
    EXPECT_EQ(error.cause(), "blob " + blob.digest.str() + " is damaged") << at;
    EXPECT_NE(error.why().find(layout.root() + "/blobs/sha256/" + blob.digest.hex()),
              std::string::npos)
        << error.why();
    EXPECT_NE(error.why().find(Digest::of(broken).str()), std::string::npos) << error.why();
  }
  EXPECT_EQ(countIn("ingest"), 0U);
  sys::tryUnlinkat(layout.blobs(), blob.digest.hex(), 0);
  layers.ensure(diffId, putBlob(layout, tar, media::kLayer));
  EXPECT_EQ(contentOf(diffId), "content");
}

TEST_P(LayersTest, OfVerifiedBytesAreTheSameView) {
  layers.ensure(diffId, putBlob(layout, tar, media::kLayer));
  const auto expected = testing_erofs::describeAll(layers.open(diffId).get());
  const std::string meta = fs::readFile(layout.fd(), layout.layerPath(diffId) + "/meta");
  fs::removeTree(layout.fd(), layout.layerPath(diffId));
  layers.ensureFromVerified(diffId);
  layers.ensureFromVerified(diffId);  // it is there: nothing happens
  EXPECT_EQ(testing_erofs::describeAll(layers.open(diffId).get()), expected);
  EXPECT_EQ(fs::readFile(layout.fd(), layout.layerPath(diffId) + "/meta"), meta);
  EXPECT_EQ(countIn("ingest"), 0U);
}

TEST_P(LayersTest, OfVerifiedBytesNeedTheirBlob) {
  EXPECT_EQ(errorOf([&] { layers.ensureFromVerified(diffId); }).kind(), Kind::notFound);
  EXPECT_EQ(countIn("ingest"), 0U);
}

TEST_P(LayersTest, OfABlobThatWasCutShortMeanwhileAreCorrupt) {
  const std::string longTar = makeTar({{"file", std::string(100'000, 'x')}});
  const Digest id = Digest::of(longTar);
  putBlob(layout, longTar, media::kLayer);
  for (const off_t size : {100, 512, 1000, 50'000, 100'500}) {
    EXPECT_EQ(::truncate((layout.root() + "/" + layout.blobPath(id)).c_str(), size), 0);
    const Error error = errorOf([&] { layers.ensureFromVerified(id); });
    EXPECT_EQ(error.kind(), Kind::corrupt) << size;
    EXPECT_EQ(error.code(), "digest-mismatch") << size;
    EXPECT_FALSE(layers.has(id));
    EXPECT_EQ(countIn("ingest"), 0U);
  }
}

TEST_P(LayersTest, MustBeCompressedAsTheirMediaTypeSays) {
  const Error plain =
      errorOf([&] { layers.ensure(diffId, putBlob(layout, tar, media::kLayerGzip)); });
  EXPECT_EQ(plain.kind(), Kind::corrupt);
  const Error zipped =
      errorOf([&] { layers.ensure(diffId, putBlob(layout, gzip(tar), media::kLayer)); });
  EXPECT_EQ(zipped.kind(), Kind::corrupt);
}

TEST_P(LayersTest, OfAnotherBootAreRebuiltFromTheirBlob) {
  const Descriptor blob = putBlob(layout, tar, media::kLayer);
  layers.ensure(diffId, blob);
  const std::string emptied = layers.pathOf(diffId) + (isErofs() ? "" : "/file");
  fs::replaceFile(layout.fd(), emptied, "", 0644, fs::Sync::none);
  rewriteMeta(diffId, R"({"boot_id":"another","bytes":7,"diff_id":")" + diffId.str() +
                          R"(","entries":2,"version":1})");
  EXPECT_FALSE(layers.has(diffId));
  EXPECT_EQ(layers.sizeOf(diffId), 7U);
  layers.ensure(diffId, blob);
  EXPECT_EQ(contentOf(diffId), "content");
  EXPECT_EQ(countIn("trash"), 0U);
}

TEST_P(LayersTest, WithoutACompleteMetaAreGarbage) {
  const Descriptor blob = putBlob(layout, tar, media::kLayer);
  for (const char* meta : {"", "{", "{}", R"({"version":2})", R"({"version":1,"boot_id":7})"}) {
    layers.ensure(diffId, blob);
    ASSERT_TRUE(layers.has(diffId));
    rewriteMeta(diffId, meta);
    EXPECT_FALSE(layers.has(diffId)) << meta;
  }
}

TEST_P(LayersTest, WithoutTheirFolderAreRebuilt) {
  const Descriptor blob = putBlob(layout, tar, media::kLayer);
  layers.ensure(diffId, blob);
  fs::removeTree(layout.fd(), layers.pathOf(diffId));
  layers.ensure(diffId, blob);
  EXPECT_EQ(contentOf(diffId), "content");
}

TEST_P(LayersTest, AdoptMovesAFinishedFolder) {
  fs::makeDirs(layout.fd(), "ingest/x/fs").reset();
  fs::replaceFile(layout.fd(), "ingest/x/fs/file", "made", 0644, fs::Sync::none);
  layers.adopt("ingest/x/fs", diffId, 1, 4);
  EXPECT_EQ(contentOf(diffId), "made");
  EXPECT_EQ(layers.sizeOf(diffId), 4U);
  EXPECT_FALSE(sys::tryFstatat(layout.fd(), "ingest/x/fs"));
}

TEST_P(LayersTest, AdoptLeavesTheFolderWhenTheLayerIsThere) {
  layers.ensure(diffId, putBlob(layout, tar, media::kLayer));
  fs::makeDirs(layout.fd(), "ingest/x/fs").reset();
  layers.adopt("ingest/x/fs", diffId, 1, 4);
  EXPECT_TRUE(sys::tryFstatat(layout.fd(), "ingest/x/fs"));
  EXPECT_EQ(contentOf(diffId), "content");
}

TEST_P(LayersTest, OfAnImageAreUnpackedTogether) {
  std::vector<Digest> diffIds;
  std::vector<Descriptor> blobs;
  for (int i = 0; i < 7; ++i) {
    const std::string text = makeTar({{"file", std::to_string(i)}});
    diffIds.push_back(Digest::of(text));
    blobs.push_back(putBlob(layout, text, media::kLayer));
  }
  diffIds.push_back(diffIds[0]);  // an image may have the same layer twice
  blobs.push_back(blobs[0]);
  layers.ensureAll(diffIds, blobs);
  for (size_t i = 0; i < 7; ++i) EXPECT_EQ(contentOf(diffIds[i]), std::to_string(i));
}

TEST_P(LayersTest, OneBrokenLayerFailsAllAndLeavesNoLitter) {
  const std::string bad = "this is no tar" + std::string(2000, 'x');
  const std::vector<Digest> diffIds = {diffId, Digest::of(bad)};
  const std::vector<Descriptor> blobs = {putBlob(layout, tar, media::kLayer),
                                         putBlob(layout, bad, media::kLayer)};
  EXPECT_EQ(errorOf([&] { layers.ensureAll(diffIds, blobs); }).kind(), Kind::corrupt);
  EXPECT_FALSE(layers.has(diffIds[1]));
  EXPECT_EQ(countIn("ingest"), 0U);
}

TEST_P(LayersTest, ManyProcessesThatWantTheSameLayerAllFindIt) {
  const Descriptor blob = putBlob(layout, tar, media::kLayer);
  std::vector<Child> children;
  for (int i = 0; i < 10; ++i) {
    children.push_back(Child::fork([&] {
      layers.ensure(diffId, blob);
      return contentOf(diffId);
    }));
  }
  for (Child& child : children) EXPECT_EQ(child.finish(), "content");
  EXPECT_EQ(countIn("layers"), 1U);
}

INSTANTIATE_TEST_SUITE_P(Views, LayersTest, testing::Values(LayerView::directory, LayerView::erofs),
                         [](const auto& test) { return layerViewName(test.param); });

// --- What only an index has ---

class ErofsLayers : public test::StoreTest {
 protected:
  void SetUp() override {
    if (!test::isRoot() || !testing_erofs::canMount())
      GTEST_SKIP() << "this kernel mounts no EROFS from files for this user";
    ::setenv("IMG_LAYER_VIEW", "erofs", 1);  // however small the layer is
  }
  void TearDown() override { ::unsetenv("IMG_LAYER_VIEW"); }
  bool hasFile(const std::string& name) const {
    return sys::tryFstatat(layout.fd(), layout.layerPath(diffId) + "/" + name).has_value();
  }
  Fd unionOf(const std::vector<int>& lowers) {
    OverlaySpec spec;
    spec.lowers = lowers;
    return mountOverlay(spec);
  }
  static std::string mounts() { return fs::readFile(AT_FDCWD, "/proc/self/mountinfo"); }

  const std::string tar = makeTar({{"file", "content"}, {"dir/a", "1"}});
  const Digest diffId = Digest::of(tar);
  const Layers layers{layout};
};

std::string tarOfMany(size_t files) {
  std::vector<test::TarFile> content;
  for (size_t i = 0; i < files; ++i) content.push_back({fmt::format("file{}", i), ""});
  return makeTar(content);
}

TEST_F(ErofsLayers, AreTheDefaultWhereTheKernelHasThem) {
  ::unsetenv("IMG_LAYER_VIEW");
  const std::string large = tarOfMany(1100);
  const Digest id = Digest::of(large);
  layers.ensure(id, putBlob(layout, large, media::kLayer));
  EXPECT_EQ(layers.pathOf(id), layout.layerPath(id) + "/index");
  EXPECT_EQ(chooseLayerView(layout).view, LayerView::erofs);
  EXPECT_TRUE(layers.tryOpen(id)->isMount);
}

// The ways a layer is made, each from a blob or from bytes that pass by.
struct SmallLayerCase {
  const char* name;
  std::function<void(const Layers& layers, const Layout& layout, const std::string& tar)> make;
};
void PrintTo(const SmallLayerCase& test, std::ostream* out) {
  *out << test.name;
}
class SmallLayers : public ErofsLayers, public testing::WithParamInterface<SmallLayerCase> {};

TEST_P(SmallLayers, AreFolders) {
  ::unsetenv("IMG_LAYER_VIEW");
  GetParam().make(layers, layout, tar);
  ASSERT_TRUE(layers.has(diffId));
  EXPECT_EQ(fs::readFile(layout.fd(), layout.layerPath(diffId) + "/fs/dir/a"), "1");
  EXPECT_FALSE(hasFile("index"));
  EXPECT_FALSE(hasFile("tar"));
  EXPECT_FALSE(layers.tryOpen(diffId)->isMount);
  EXPECT_EQ(fs::readFile(layers.open(diffId).get(), "file"), "content");
}

INSTANTIATE_TEST_SUITE_P(
    Ways, SmallLayers,
    testing::Values(
        SmallLayerCase{"aBlob",
                       [](const Layers& layers, const Layout& layout, const std::string& tar) {
                         layers.ensure(Digest::of(tar), putBlob(layout, tar, media::kLayer));
                       }},
        SmallLayerCase{"aCompressedBlob",
                       [](const Layers& layers, const Layout& layout, const std::string& tar) {
                         layers.ensure(Digest::of(tar),
                                       putBlob(layout, gzip(tar), media::kLayerGzip));
                       }},
        SmallLayerCase{"aVerifiedBlob",
                       [](const Layers& layers, const Layout& layout, const std::string& tar) {
                         putBlob(layout, tar, media::kLayer);
                         layers.ensureFromVerified(Digest::of(tar));
                       }},
        SmallLayerCase{"aDownload",
                       [](const Layers& layers, const Layout&, const std::string& tar) {
                         StringSource source{tar};
                         layers.makeFrom(Digest::of(tar), source);
                       }},
        SmallLayerCase{"bytesThatAreAboutToBeABlob",
                       [](const Layers& layers, const Layout&, const std::string& tar) {
                         StringSource source{tar};
                         layers.makeFrom(Digest::of(tar), source, Layers::Archive::blob);
                       }},
        SmallLayerCase{"anImport",
                       [](const Layers& layers, const Layout& layout, const std::string& tar) {
                         IngestDir folder{layout};
                         Fd file = sys::openat(folder.fd(), "blob", O_RDWR | O_CREAT, 0600);
                         writeAll(file.get(), tar, "a tar");
                         const UnpackStats stats = layers.fill(folder, file.get(), "a tar");
                         adoptBlob(layout, folder, "blob", Digest::of(tar), tar.size());
                         layers.adopt(folder, Digest::of(tar), stats.entries, stats.bytes);
                       }}),
    [](const auto& test) { return test.param.name; });

TEST_F(ErofsLayers, OfFewFilesThatAreTooLargeToRememberAreUnpackedFromTheirTar) {
  ::unsetenv("IMG_LAYER_VIEW");
  const std::string large = makeTar({{"file", std::string(Remembered::kMaxBytes + 1, 'x')}});
  const Digest id = Digest::of(large);
  layers.ensure(id, putBlob(layout, gzip(large), media::kLayerGzip));
  EXPECT_EQ(layers.pathOf(id), layout.layerPath(id) + "/fs");
  EXPECT_FALSE(sys::tryFstatat(layout.fd(), layout.layerPath(id) + "/tar"));
}

TEST_F(ErofsLayers, ReadTheBlobItselfWhenItIsNotCompressed) {
  const Descriptor blob = putBlob(layout, tar, media::kLayer);
  layers.ensure(diffId, blob);
  EXPECT_TRUE(hasFile("index"));
  EXPECT_FALSE(hasFile("tar"));
  sys::unlinkat(layout.fd(), layout.blobPath(blob.digest), 0);
  EXPECT_FALSE(layers.has(diffId));
  EXPECT_EQ(errorOf([&] { std::ignore = layers.open(diffId); }).kind(), Kind::notFound);
}

TEST_F(ErofsLayers, KeepTheTarOfACompressedBlob) {
  const Descriptor blob = putBlob(layout, gzip(tar), media::kLayerGzip);
  layers.ensure(diffId, blob);
  EXPECT_EQ(fs::readFile(layout.fd(), layout.layerPath(diffId) + "/tar"), tar);
  sys::unlinkat(layout.fd(), layout.blobPath(blob.digest), 0);
  EXPECT_EQ(fs::readFile(layers.open(diffId).get(), "file"), "content");
}

TEST_F(ErofsLayers, AreNotThereBeforeTheirBlobIs) {
  StringSource source{tar};
  EXPECT_TRUE(layers.makeFrom(diffId, source, Layers::Archive::blob));
  EXPECT_FALSE(layers.has(diffId));
  putBlob(layout, tar, media::kLayer);
  EXPECT_EQ(fs::readFile(layers.open(diffId).get(), "file"), "content");
}

TEST_F(ErofsLayers, AreMadeAgainForWhoeverWantsFolders) {
  const Descriptor blob = putBlob(layout, tar, media::kLayer);
  layers.ensure(diffId, blob);
  ::setenv("IMG_LAYER_VIEW", "directory", 1);
  EXPECT_FALSE(layers.has(diffId));
  layers.ensure(diffId, blob);
  EXPECT_TRUE(hasFile("fs/file"));
  EXPECT_FALSE(hasFile("index"));
  // A folder serves everybody.
  ::unsetenv("IMG_LAYER_VIEW");
  EXPECT_TRUE(layers.has(diffId));
}

TEST_F(ErofsLayers, LeaveNothingMounted) {
  layers.ensure(diffId, putBlob(layout, tar, media::kLayer));
  const std::string before = mounts();
  {
    const Fd root = layers.open(diffId);
    EXPECT_EQ(fs::readFile(root.get(), "dir/a"), "1");
    EXPECT_EQ(mounts(), before);
  }
  EXPECT_EQ(mounts(), before);
}

TEST_F(ErofsLayers, StackWithFoldersAndWithThemselves) {
  layers.ensure(diffId, putBlob(layout, tar, media::kLayer));
  fs::makeDirs(layout.fd(), "ingest/x/fs/dir").reset();
  fs::replaceFile(layout.fd(), "ingest/x/fs/dir/b", "2", 0644, fs::Sync::none);
  const Digest made = Digest::of("made");
  layers.adopt("ingest/x/fs", made, 1, 1);
  const Fd bottom = layers.open(diffId);
  const Fd again = layers.open(diffId);
  const Fd middle = layers.open(made);
  const Fd root = unionOf({again.get(), middle.get(), bottom.get()});
  EXPECT_EQ(fs::readFile(root.get(), "dir/a") + fs::readFile(root.get(), "dir/b"), "12");
  EXPECT_EQ(fs::readFile(unionOf({bottom.get()}).get(), "file"), "content");  // one alone
  // One device, and no number twice: programs tell files apart by both.
  std::set<std::pair<dev_t, ino_t>> seen;
  for (const char* path : {".", "dir", "file", "dir/a", "dir/b"}) {
    const struct stat st = sys::fstatat(root.get(), path);
    EXPECT_EQ(st.st_dev, sys::fstat(root.get()).st_dev) << path;
    EXPECT_TRUE(seen.emplace(st.st_dev, st.st_ino).second) << path;
  }
}

TEST_F(ErofsLayers, TheKernelIsAskedOncePerBoot) {
  ::unsetenv("IMG_LAYER_VIEW");
  EXPECT_EQ(chooseLayerView(layout).view, LayerView::erofs);
  const std::string remembered = R"({"boot_id":")" + bootId() + R"(","missing":"no such luck"})";
  fs::replaceFile(layout.fd(), "cache/layer-view", remembered, 0644, fs::Sync::none);
  EXPECT_EQ(chooseLayerView(layout).view, LayerView::directory);
  EXPECT_EQ(chooseLayerView(layout).why, "no such luck");
  ::setenv("IMG_LAYER_VIEW", "erofs", 1);
  const Error error = errorOf([&] { std::ignore = chooseLayerView(layout); });
  EXPECT_EQ(error.code(), "layer-view");
  EXPECT_EQ(error.why(), "no such luck");
  ::unsetenv("IMG_LAYER_VIEW");
  for (const char* text : {"", "{", R"({"boot_id":"another","missing":"x"})", R"({"boot_id":7})"}) {
    fs::replaceFile(layout.fd(), "cache/layer-view", text, 0644, fs::Sync::none);
    EXPECT_EQ(chooseLayerView(layout).view, LayerView::erofs) << text;
  }
}

TEST_F(ErofsLayers, AViewThatDoesNotExistIsAMistake) {
  ::setenv("IMG_LAYER_VIEW", "squashfs", 1);
  EXPECT_EQ(errorOf([&] { std::ignore = chooseLayerView(layout); }).kind(), Kind::usage);
}

// --- What an index has no room for ---

// Two files of 8 TiB with a byte here and there: an index copies each into a block as large as the
// piece that the kernel wants to map, and ends up with more than 2 TiB of addresses.
std::string tarBeyondAnIndex() {
  StringSink sink;
  TarWriter writer{sink};
  const std::string bytes(100, 'x');
  for (const char* name : {"a", "b"}) {
    TarEntry entry;
    entry.path = name;
    entry.size = std::uint64_t{8} << 40;
    entry.sparse = true;
    for (std::uint64_t i = 0; i < 100; ++i) entry.extents.push_back({(i << 36) + 1, 1});
    writer.add(entry);
    writer.data(std::as_bytes(std::span{bytes}));
  }
  writer.finish();
  return sink.text;
}

class TooLargeForErofs : public ErofsLayers {
 protected:
  void SetUp() override {
    ErofsLayers::SetUp();
    ::unsetenv("IMG_LAYER_VIEW");
    ::setenv("IMG_LIMIT_LAYER_BYTES", "0", 1);
  }
  void TearDown() override {
    ::unsetenv("IMG_LIMIT_LAYER_BYTES");
    ErofsLayers::TearDown();
  }
  void expectFolder() const {
    EXPECT_EQ(layers.pathOf(large), layout.layerPath(large) + "/fs");
    const Fd file = sys::openat(layers.open(large).get(), "b", O_RDONLY);
    char byte = 0;
    EXPECT_EQ(::pread(file.get(), &byte, 1, (off_t{99} << 36) + 1), 1);
    EXPECT_EQ(byte, 'x');
    EXPECT_TRUE(fs::list(layout.ingest()).empty());
  }
  const std::string content = tarBeyondAnIndex();
  const Digest large = Digest::of(content);
};

TEST_F(TooLargeForErofs, ALayerIsUnpacked) {
  layers.ensure(large, putBlob(layout, gzip(content), media::kLayerGzip));
  expectFolder();
}

TEST_F(TooLargeForErofs, AVerifiedLayerIsUnpacked) {
  putBlob(layout, content, media::kLayer);
  layers.ensureFromVerified(large);
  expectFolder();
}

TEST_F(TooLargeForErofs, WhoForcesAnIndexIsTold) {
  ::setenv("IMG_LAYER_VIEW", "erofs", 1);
  const Descriptor blob = putBlob(layout, content, media::kLayer);
  EXPECT_EQ(errorOf([&] { layers.ensure(large, blob); }).kind(), Kind::unsupported);
  StringSource source{content};
  EXPECT_EQ(errorOf([&] { layers.makeFrom(large, source); }).kind(), Kind::unsupported);
  EXPECT_FALSE(layers.has(large));
}

TEST_F(TooLargeForErofs, AStreamIsReadToItsEndAndUnpackedFromTheBlob) {
  StringSource source{content};
  EXPECT_TRUE(layers.makeFrom(large, source));
  std::byte rest[1];
  EXPECT_EQ(source.read(rest), 0U);
  EXPECT_FALSE(layers.has(large));
  layers.ensure(large, putBlob(layout, content, media::kLayer));
  expectFolder();
}

TEST_F(TooLargeForErofs, AnImportedTarIsUnpacked) {
  StringSource source{content};
  const Image image = importTar(layout, source, "large.tar", {});
  EXPECT_EQ(image.config.diffIds, std::vector{large});
  expectFolder();
}

TEST_F(ErofsLayers, AreNotForProcessesThatMountNothing) {
  const Descriptor blob = putBlob(layout, tar, media::kLayer);
  layers.ensure(diffId, blob);
  ::unsetenv("IMG_LAYER_VIEW");
  Child child = Child::fork([&] {
    copyUnions(true);
    const bool had = layers.has(diffId);
    layers.ensure(diffId, blob);
    return std::string{had ? "index" : "none"} + " " + layers.pathOf(diffId).substr(72);
  });
  EXPECT_EQ(child.finish(), "none fs");
}

}  // namespace
}  // namespace img::store
