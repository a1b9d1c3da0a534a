#include "store/layers.h"

#include <zlib.h>

#include "base/process.h"
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

class LayersTest : public test::StoreTest {
 protected:
  void SetUp() override {
    if (!test::isRoot()) GTEST_SKIP() << "unpacking with owners needs root";
  }
  std::string contentOf(const Digest& id) {
    return fs::readFile(layout.fd(), layout.layerPath(id) + "/fs/file");
  }
  void rewriteMeta(const Digest& id, std::string_view text) {
    fs::replaceFile(layout.fd(), layout.layerPath(id) + "/meta", text, 0644, fs::Sync::none);
  }
  const std::string tar = makeTar({{"file", "content"}, {"dir", "", TarEntry::Type::directory}});
  const Digest diffId = Digest::of(tar);
  const Layers layers{layout};
};

TEST_F(LayersTest, AreUnpackedFromTheirBlob) {
  EXPECT_FALSE(layers.has(diffId));
  EXPECT_EQ(errorOf([&] { std::ignore = layers.open(diffId); }).kind(), Kind::notFound);
  layers.ensure(diffId, putBlob(layout, tar, media::kLayer));
  EXPECT_TRUE(layers.has(diffId));
  EXPECT_EQ(contentOf(diffId), "content");
  EXPECT_EQ(layers.sizeOf(diffId), 7U);
  EXPECT_EQ(sys::fstat(layers.open(diffId).get()).st_mode & 07777, 0755U);
  EXPECT_EQ(countIn("ingest"), 0U);
}

TEST_F(LayersTest, MayBeCompressed) {
  layers.ensure(diffId, putBlob(layout, gzip(tar), media::kLayerGzip));
  EXPECT_EQ(contentOf(diffId), "content");
}

TEST_F(LayersTest, OfAnotherDiffIdAreCorrupt) {
  const Digest wrong = Digest::of("wrong");
  const Error error = errorOf([&] { layers.ensure(wrong, putBlob(layout, tar, media::kLayer)); });
  EXPECT_EQ(error.code(), "digest-mismatch");
  EXPECT_FALSE(layers.has(wrong));
  EXPECT_EQ(countIn("layers"), 0U);
  EXPECT_EQ(countIn("ingest"), 0U);
}

TEST_F(LayersTest, NameTheBlobThatIsDamaged) {
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

TEST_F(LayersTest, MustBeCompressedAsTheirMediaTypeSays) {
  const Error plain =
      errorOf([&] { layers.ensure(diffId, putBlob(layout, tar, media::kLayerGzip)); });
  EXPECT_EQ(plain.kind(), Kind::corrupt);
  const Error zipped =
      errorOf([&] { layers.ensure(diffId, putBlob(layout, gzip(tar), media::kLayer)); });
  EXPECT_EQ(zipped.kind(), Kind::corrupt);
}

TEST_F(LayersTest, OfAnotherBootAreRebuiltFromTheirBlob) {
  const Descriptor blob = putBlob(layout, tar, media::kLayer);
  layers.ensure(diffId, blob);
  fs::replaceFile(layout.fd(), layout.layerPath(diffId) + "/fs/file", "", 0644, fs::Sync::none);
  rewriteMeta(diffId, R"({"boot_id":"another","bytes":7,"diff_id":")" + diffId.str() +
                          R"(","entries":2,"version":1})");
  EXPECT_FALSE(layers.has(diffId));
  EXPECT_EQ(layers.sizeOf(diffId), 7U);
  layers.ensure(diffId, blob);
  EXPECT_EQ(contentOf(diffId), "content");
  EXPECT_EQ(countIn("trash"), 0U);
}

TEST_F(LayersTest, WithoutACompleteMetaAreGarbage) {
  const Descriptor blob = putBlob(layout, tar, media::kLayer);
  for (const char* meta : {"", "{", "{}", R"({"version":2})", R"({"version":1,"boot_id":7})"}) {
    layers.ensure(diffId, blob);
    ASSERT_TRUE(layers.has(diffId));
    rewriteMeta(diffId, meta);
    EXPECT_FALSE(layers.has(diffId)) << meta;
  }
}

TEST_F(LayersTest, WithoutTheirFolderAreRebuilt) {
  const Descriptor blob = putBlob(layout, tar, media::kLayer);
  layers.ensure(diffId, blob);
  fs::removeTree(layout.layers(), diffId.hex() + "/fs");
  layers.ensure(diffId, blob);
  EXPECT_EQ(contentOf(diffId), "content");
}

TEST_F(LayersTest, AdoptMovesAFinishedFolder) {
  fs::makeDirs(layout.fd(), "ingest/x/fs").reset();
  fs::replaceFile(layout.fd(), "ingest/x/fs/file", "made", 0644, fs::Sync::none);
  layers.adopt("ingest/x/fs", diffId, 1, 4);
  EXPECT_EQ(contentOf(diffId), "made");
  EXPECT_EQ(layers.sizeOf(diffId), 4U);
  EXPECT_FALSE(sys::tryFstatat(layout.fd(), "ingest/x/fs"));
}

TEST_F(LayersTest, AdoptLeavesTheFolderWhenTheLayerIsThere) {
  layers.ensure(diffId, putBlob(layout, tar, media::kLayer));
  fs::makeDirs(layout.fd(), "ingest/x/fs").reset();
  layers.adopt("ingest/x/fs", diffId, 1, 4);
  EXPECT_TRUE(sys::tryFstatat(layout.fd(), "ingest/x/fs"));
  EXPECT_EQ(contentOf(diffId), "content");
}

TEST_F(LayersTest, OfAnImageAreUnpackedTogether) {
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

TEST_F(LayersTest, OneBrokenLayerFailsAllAndLeavesNoLitter) {
  const std::string bad = "this is no tar" + std::string(2000, 'x');
  const std::vector<Digest> diffIds = {diffId, Digest::of(bad)};
  const std::vector<Descriptor> blobs = {putBlob(layout, tar, media::kLayer),
                                         putBlob(layout, bad, media::kLayer)};
  EXPECT_EQ(errorOf([&] { layers.ensureAll(diffIds, blobs); }).kind(), Kind::corrupt);
  EXPECT_FALSE(layers.has(diffIds[1]));
  EXPECT_EQ(countIn("ingest"), 0U);
}

TEST_F(LayersTest, ManyProcessesThatWantTheSameLayerAllFindIt) {
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

}  // namespace
}  // namespace img::store
