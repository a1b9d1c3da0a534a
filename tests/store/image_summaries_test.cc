#include "store/image_summaries.h"

#include <gtest/gtest.h>

#include "store/layers.h"
#include "tests/store/store_fixture.h"

namespace img::store {
namespace {

constexpr char kA[] = "docker.io/library/a:latest";
constexpr char kFile[] = "cache/images";

class SummariesTest : public test::StoreTest {
 protected:
  ImageSummary summaryOf(const Image& image) {
    ImageSummaries summaries{layout};
    ImageSummary summary = summaries.of(image.manifestDescriptor);
    summaries.save();
    return summary;
  }
  std::string file() { return fs::tryReadFile(layout.fd(), kFile).value_or(""); }
};

TEST_F(SummariesTest, AreTheSameFromTheFileAsFromTheDocuments) {
  const Image image = makeImage("1", {kA});
  const ImageSummary first = summaryOf(image);
  EXPECT_FALSE(file().empty());
  const ImageSummary second = summaryOf(image);
  EXPECT_EQ(first.id, image.id);
  EXPECT_EQ(second.id, image.id);
  EXPECT_EQ(second.created, image.config.created);
  EXPECT_EQ(second.labels, image.config.labels);
  EXPECT_EQ(second.size, image.manifest.layers[0].size);
}

TEST_F(SummariesTest, SayTheSizeOfTheFilesOnceALayerIsUnpacked) {
  const Image image = makeImage("content", {kA});
  summaryOf(image);
  Layers{layout}.ensure(image.config.diffIds[0], image.manifest.layers[0]);
  EXPECT_EQ(summaryOf(image).size, 7U);
  fs::removeTree(layout.layers(), image.config.diffIds[0].hex());
  EXPECT_EQ(summaryOf(image).size, 7U);  // that does not change any more
}

TEST_F(SummariesTest, AnImageWithoutItsDocumentsIsAnErrorAsEver) {
  const Image image = makeImage("1", {kA});
  summaryOf(image);
  sys::unlinkat(layout.fd(), layout.blobPath(image.id), 0);
  EXPECT_EQ(test::errorOf([&] { summaryOf(image); }).kind(), Kind::notFound);
}

TEST_F(SummariesTest, ADamagedFileIsMadeAgain) {
  const Image image = makeImage("1", {kA});
  summaryOf(image);
  const std::string whole = file();
  for (size_t at = 0; at < whole.size(); at += 7) {
    std::string damaged = whole;
    damaged[at] = static_cast<char>(damaged[at] ^ 1);
    fs::replaceFile(layout.fd(), kFile, damaged, 0600, fs::Sync::none);
    EXPECT_EQ(summaryOf(image).id, image.id) << at;
    EXPECT_EQ(file(), whole) << at;
  }
  fs::replaceFile(layout.fd(), kFile, whole.substr(0, 20), 0600, fs::Sync::none);
  EXPECT_EQ(summaryOf(image).id, image.id);
}

TEST_F(SummariesTest, ImagesThatWentAreForgotten) {
  const Image image = makeImage("1", {kA});
  summaryOf(image);
  const size_t one = file().size();
  const Image other = makeImage("2", {"docker.io/library/b:latest"});
  summaryOf(other);  // the only one that was asked for
  EXPECT_EQ(file().size(), one);
}

}  // namespace
}  // namespace img::store
