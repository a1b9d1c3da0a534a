#include "store/commit.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <set>

#include "base/error.h"
#include "base/fs.h"
#include "base/sys.h"
#include "base/text.h"
#include "store/archive.h"
#include "store/blobs.h"
#include "store/layers.h"
#include "store/tar.h"

namespace img::store {
namespace {

class CommitTest : public testing::Test {
 protected:
  fs::TempDir dir_;
  Layout layout_ = Layout::open(dir_.path() + "/store");
  Image image_;
  ContainerRecord container_;
  Fd upper_;

  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "needs root: unpacks layers with owners";
    importImage();
    ContainerConfig config;
    config.name = "web";
    config.imageId = image_.id;
    config.diffIds = image_.config.diffIds;
    config.argv = {"sh", "-c", "work"};
    config.image = image_.config;
    config.mounts.emplace_back();
    config.mounts[0].type = "volume";
    config.mounts[0].destination = "/data";
    container_.config = Containers{layout_}.create(config);
    upper_ = sys::openDirectory(Containers{layout_}.folder(container_.config.id).get(), "upper");
  }

  void importImage() {
    StringSink tar;
    TarWriter writer{tar};
    TarEntry entry;
    entry.type = TarEntry::Type::directory;
    entry.path = "etc";
    entry.mode = 0755;
    writer.add(entry);
    entry.type = TarEntry::Type::file;
    entry.path = "etc/passwd";
    entry.mode = 0644;
    entry.size = 4;
    writer.add(entry);
    writer.data(asBytes("root"));
    writer.finish();
    StringSource source{tar.text};
    ImageConfig config;
    config.platform = Platform::host();
    config.env = {"A=1"};
    image_ = importTar(layout_, source, "base.tar", config);
    Images{layout_}.publish(image_.manifestDescriptor, {"docker.io/library/base:latest"});
    Layers{layout_}.ensureAll(image_.config.diffIds, image_.manifest.layers);
  }

  void write(const std::string& path, std::string_view text) {
    fs::replaceFile(upper_.get(), path, text, 0644, fs::Sync::none);
  }

  CommitRequest request() const {
    CommitRequest commit;
    commit.config = container_.config.image;
    commit.author = "me";
    commit.message = "why";
    return commit;
  }

  std::set<std::string> pathsOf(const Descriptor& layer) {
    FdSource source{openBlob(layout_, layer.digest), "layer"};
    TarReader reader{source, "layer"};
    std::set<std::string> paths;
    while (const TarEntry* entry = reader.next()) paths.insert(entry->path);
    return paths;
  }
};

TEST_F(CommitTest, SquashedIsOneLayerWithEverything) {
  write("new", "data");
  CommitRequest squash = request();
  squash.squash = true;
  const Image image = commitContainer(layout_, container_, squash);
  ASSERT_EQ(image.config.diffIds.size(), 1u);
  EXPECT_NE(image.config.diffIds, image_.config.diffIds);
  ASSERT_EQ(image.config.history.size(), 1u);
  EXPECT_EQ(image.config.history[0].createdBy, "sh -c work");
  EXPECT_FALSE(image.config.history[0].emptyLayer);
  const auto paths = pathsOf(image.manifest.layers.at(0));
  EXPECT_TRUE(paths.contains("new"));
  EXPECT_TRUE(paths.contains("etc/passwd"));
}

TEST_F(CommitTest, SquashedWithoutChangesIsTheImageInOneLayer) {
  CommitRequest squash = request();
  squash.squash = true;
  const Image image = commitContainer(layout_, container_, squash);
  ASSERT_EQ(image.config.diffIds.size(), 1u);
  EXPECT_TRUE(pathsOf(image.manifest.layers.at(0)).contains("etc/passwd"));
}

TEST_F(CommitTest, AddsOneLayerOnTopOfTheParents) {
  write("new", "hello");
  const Image image = commitContainer(layout_, container_, request());
  ASSERT_EQ(image.manifest.layers.size(), 2u);
  EXPECT_EQ(image.manifest.layers[0].digest, image_.manifest.layers[0].digest);
  EXPECT_EQ(image.config.diffIds.size(), 2u);
  EXPECT_EQ(pathsOf(image.manifest.layers[1]), std::set<std::string>{"new"});
}

TEST_F(CommitTest, KeepsTheParentsConfigAndAddsToItsHistory) {
  write("new", "hello");
  const Image image = commitContainer(layout_, container_, request());
  EXPECT_EQ(image.config.env, std::vector<std::string>{"A=1"});
  EXPECT_EQ(image.config.author, "me");
  ASSERT_EQ(image.config.history.size(), image_.config.history.size() + 1);
  const HistoryEntry& entry = image.config.history.back();
  EXPECT_EQ(entry.createdBy, "sh -c work");
  EXPECT_EQ(entry.comment, "why");
  EXPECT_EQ(entry.author, "me");
  EXPECT_FALSE(entry.emptyLayer);
}

TEST_F(CommitTest, AnEmptyUpperIsAConfigOnlyChange) {
  const Image image = commitContainer(layout_, container_, request());
  EXPECT_EQ(image.manifest.layers.size(), 1u);
  EXPECT_EQ(image.config.diffIds, image_.config.diffIds);
  EXPECT_TRUE(image.config.history.back().emptyLayer);
  EXPECT_NE(image.id, image_.id);
}

TEST_F(CommitTest, OfAMountTheEmptyPlaceIsKept) {
  sys::mkdirat(upper_.get(), "data", 0755);
  write("new", "x");
  const Image image = commitContainer(layout_, container_, request());
  EXPECT_EQ(pathsOf(image.manifest.layers[1]), (std::set<std::string>{"data/", "new"}));
}

TEST_F(CommitTest, ARemovedFileBecomesAWhiteout) {
  sys::mkdirat(upper_.get(), "etc", 0755);
  sys::mknodat(upper_.get(), "etc/passwd", S_IFCHR, 0);
  const Image image = commitContainer(layout_, container_, request());
  EXPECT_TRUE(pathsOf(image.manifest.layers[1]).contains("etc/.wh.passwd"));
}

TEST_F(CommitTest, NamesPointAtTheNewImage) {
  CommitRequest commit = request();
  commit.names = {"docker.io/library/made:v2"};
  const Image image = commitContainer(layout_, container_, commit);
  EXPECT_EQ(Images{layout_}.get("made:v2").id, image.id);
}

TEST_F(CommitTest, WithAnEpochTheSameChangesGiveTheSameImage) {
  write("new", "x");
  CommitRequest commit = request();
  commit.epoch = 1000;
  const Image first = commitContainer(layout_, container_, commit);
  sys::utimensat(upper_.get(), "new", {5000, 0}, {5000, 0});
  const Image second = commitContainer(layout_, container_, commit);
  EXPECT_EQ(first.id, second.id);
  EXPECT_EQ(first.config.created, "1970-01-01T00:16:40Z");
}

TEST_F(CommitTest, WithoutItsImageAContainerCannotBeCommitted) {
  container_.config.imageId = Digest::of("gone");
  EXPECT_THROW(commitContainer(layout_, container_, request()), Error);
}

}  // namespace
}  // namespace img::store
