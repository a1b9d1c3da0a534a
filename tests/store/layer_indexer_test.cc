#include "store/layer_indexer.h"

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <functional>

#include "base/fs.h"
#include "store/erofs_image.h"
#include "store/layers.h"
#include "tests/store/store_fixture.h"

namespace img::store {
namespace {

using Type = TarEntry::Type;

TarEntry entryOf(const std::string& path, Type type, const std::string& content = {}) {
  TarEntry entry;
  entry.path = path;
  entry.type = type;
  entry.mode = type == Type::directory ? 0755 : 0644;
  entry.size = content.size();
  entry.mtimeSeconds = 1'700'000'000;
  return entry;
}

class MemorySink final : public Sink {
 public:
  void write(std::span<const std::byte> bytes) override { text += asText(bytes); }
  std::string text;
};

std::string contentOf(int file) {
  std::string text(static_cast<size_t>(sys::fstat(file).st_size), '\0');
  EXPECT_EQ(preadFull(file, std::as_writable_bytes(std::span{text}), 0, "test"), text.size());
  return text;
}

class LayerIndexerTest : public testing::Test {
 protected:
  // Else a layer of a few files is better unpacked.
  LayerIndexerTest() { ::setenv("IMG_LAYER_VIEW", "erofs", 1); }
  ~LayerIndexerTest() override { ::unsetenv("IMG_LAYER_VIEW"); }
  LayerIndexerTest(const LayerIndexerTest&) = delete;
  LayerIndexerTest& operator=(const LayerIndexerTest&) = delete;

  TarWriter& tar() {
    if (!tar_) {
      tar_ = std::make_unique<TarWriter>(sink_);
      tar_->tellOfEach(
          [this](const TarEntry& entry, std::uint64_t offset) { indexer_.add(entry, offset); });
    }
    return *tar_;
  }
  void add(const TarEntry& entry, std::string_view content = {}) {
    tar().add(entry);
    if (!content.empty()) tar().data(std::as_bytes(std::span{content}));
  }
  void file(const std::string& path, const std::string& content) {
    add(entryOf(path, Type::file, content), content);
  }
  // The index that is made of the tar.
  std::string expected() {
    tar().finish();
    const Fd archive = memory();
    writeAll(archive.get(), sink_.text, "test");
    const Fd index = memory();
    indexLayerFile(archive.get(), index.get(), "test");
    return contentOf(index.get());
  }
  std::string made(const IngestDir& folder) {
    EXPECT_TRUE(indexer_.finish());
    EXPECT_TRUE(indexer_.write(folder, sink_.text.size()));
    return contentOf(sys::openat(folder.fd(), Layers::kIndexName, O_RDONLY).get());
  }
  static Fd memory() { return Fd{::memfd_create("test", MFD_CLOEXEC)}; }

  fs::TempDir temp_;
  const Layout layout_ = Layout::open(temp_.path() + "/store");
  MemorySink sink_;
  LayerIndexer indexer_;
  std::unique_ptr<TarWriter> tar_;
};

TEST_F(LayerIndexerTest, MakesTheIndexThatTheFinishedTarGives) {
  add(entryOf("d", Type::directory));
  file("d/a", std::string(3000, 'a'));
  file("d/empty", "");
  TarEntry link = entryOf("d/b", Type::hardLink);
  link.linkTarget = "d/a";
  add(link);
  TarEntry symlink = entryOf("d/s", Type::symlink);
  symlink.linkTarget = std::string(150, 't');
  add(symlink);
  TarEntry special = entryOf("d/fifo", Type::fifo);
  special.mtimeSeconds = -5;
  special.mtimeNanoseconds = 123'456'789;
  add(special);
  TarEntry device = entryOf("d/device", Type::charDevice);
  device.deviceMajor = 5;
  device.deviceMinor = 300;
  add(device);
  TarEntry owned = entryOf("missing/parents/" + std::string(200, 'n'), Type::file, "xyz");
  owned.uid = 3'000'000;
  owned.gid = 4'000'000;
  owned.xattrs = {{"user.note", std::string{"1\0"
                                            "2",
                                            3}},
                  {"trusted.other", "left behind"}};
  add(owned, "xyz");
  file("d/.wh.gone", "");
  file("e/.wh..wh..opq", "");
  file("d/a", "replaced");
  file("bytes\xff\xfe", std::string(2'000'000, 'z'));
  const std::string wanted = expected();
  const IngestDir folder{layout_};
  EXPECT_TRUE(made(folder) == wanted);
}

TEST_F(LayerIndexerTest, MakesThatOfALayerWithNothingInIt) {
  const std::string wanted = expected();
  const IngestDir folder{layout_};
  EXPECT_TRUE(made(folder) == wanted);
}

TEST_F(LayerIndexerTest, LeavesSparseFilesToTheTar) {
  TarEntry sparse = entryOf("sparse", Type::file);
  sparse.size = 1 << 20;
  sparse.sparse = true;
  sparse.extents = {{0, 512}};
  add(sparse, std::string(512, 's'));
  file("a", "behind it");
  tar().finish();
  EXPECT_FALSE(indexer_.finish());
}

TEST_F(LayerIndexerTest, LeavesItToTheTarToSayWhatIsWrong) {
  add(entryOf("device", Type::charDevice));  // 0:0, a whiteout in disguise
  file("a", "behind it");
  tar().finish();
  EXPECT_FALSE(indexer_.finish());
}

TEST_F(LayerIndexerTest, MakesNoneOfALayerThatIsBetterUnpacked) {
  ::unsetenv("IMG_LAYER_VIEW");
  file("a", "small");
  tar().finish();
  EXPECT_FALSE(indexer_.finish());
}

TEST_F(LayerIndexerTest, LeavesTheFolderEmptyWhenTheIndexHasNoRoomForTheLayer) {
  file("a", "x");
  tar().finish();
  const IngestDir folder{layout_};
  ASSERT_TRUE(indexer_.finish());
  EXPECT_FALSE(indexer_.write(folder, std::uint64_t{1} << 50));
  EXPECT_TRUE(fs::list(folder.fd()).empty());
}

}  // namespace
}  // namespace img::store
