#include "store/layer_meta.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "base/fs.h"
#include "base/sys.h"
#include "tests/store/store_fixture.h"

namespace img::store {
namespace {

class LayerMetaTest : public test::StoreTest {
 protected:
  Fd makeFolder() {
    sys::mkdirat(layout.layers(), id.hex(), 0755);
    return sys::openDirectory(layout.layers(), id.hex());
  }
  std::optional<LayerMeta> afterWriting(const LayerMeta& meta) {
    writeLayerMeta(makeFolder().get(), meta);
    return readLayerMeta(layout, id);
  }
  std::optional<LayerMeta> afterText(const std::string& text) {
    if (!folder_) folder_ = makeFolder();
    fs::replaceFile(folder_.get(), "meta", text, 0644, fs::Sync::none);
    return readLayerMeta(layout, id);
  }
  // As a folder outside of user namespaces has it.
  [[nodiscard]] std::string plain(const std::string& boot, const std::string& version = "1") const {
    return fmt::format(R"({{"boot_id":"{}","bytes":7,"diff_id":"{}","entries":2,"version":{}}})",
                       boot, id.str(), version);
  }
  const Digest id = Digest::of("a layer");

 private:
  Fd folder_;
};

void expectSame(const std::optional<LayerMeta>& got, const LayerMeta& wanted) {
  ASSERT_TRUE(got);
  EXPECT_EQ(got->diffId, wanted.diffId);
  EXPECT_EQ(got->entries, wanted.entries);
  EXPECT_EQ(got->bytes, wanted.bytes);
  EXPECT_EQ(got->bootId, wanted.bootId);
  EXPECT_EQ(got->hasUserMarks, wanted.hasUserMarks);
  EXPECT_EQ(got->idMaps, wanted.idMaps);
  EXPECT_EQ(got->archive, wanted.archive);
}

TEST_F(LayerMetaTest, OfAFolderIsReadAsItWasWritten) {
  const LayerMeta meta{id, 3, 18446744073709551615ULL, "a boot", false, "", ""};
  expectSame(afterWriting(meta), meta);
}

TEST_F(LayerMetaTest, WithEverythingInItIsReadAsItWasWritten) {
  const LayerMeta meta{id, 0, 5, "a \"boot\" \\", true, "0 100000 65536", "tar"};
  expectSame(afterWriting(meta), meta);
}

TEST_F(LayerMetaTest, IsReadInWhateverFormItIs) {
  const LayerMeta wanted{id, 2, 7, "x", false, "", ""};
  expectSame(afterText(plain("x")), wanted);
  expectSame(afterText(plain("x") + "\n"), wanted);
  expectSame(
      afterText(fmt::format(
          R"({{ "version": 1, "diff_id": "{}", "entries": 2, "bytes": 7, "boot_id": "\u0078" }})",
          id.str())),
      wanted);
}

TEST_F(LayerMetaTest, ThatIsNotOfThisLayerOrVersionIsNone) {
  EXPECT_FALSE(readLayerMeta(layout, id)) << "nothing is there";
  EXPECT_FALSE(afterText(plain("x", "2")));
  EXPECT_FALSE(afterText(plain("x", "12")));
  std::string other = plain("x");
  other.replace(other.find(id.hex()), 64, Digest::of("another").hex());
  EXPECT_FALSE(afterText(other));
}

TEST_F(LayerMetaTest, CutShortAnywhereIsNone) {
  const std::string whole = plain("x");
  for (size_t size = 0; size < whole.size(); ++size) {
    EXPECT_FALSE(afterText(whole.substr(0, size))) << size;
  }
  EXPECT_FALSE(afterText(whole + "}"));
}

}  // namespace
}  // namespace img::store
