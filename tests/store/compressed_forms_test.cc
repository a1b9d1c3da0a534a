#include "store/compressed_forms.h"

#include <gtest/gtest.h>

#include "store/gc.h"
#include "tests/store/store_fixture.h"

namespace img::store {
namespace {

constexpr char kA[] = "docker.io/library/a:latest";

class CompressedForms : public test::StoreTest {
 protected:
  CompressedForm form(const Image& image, int level = 0) const {
    return {image.config.diffIds[0], Compression::zstd, level};
  }
  Descriptor packed(const std::string& bytes) { return putBlob(layout, bytes, ""); }
  bool isThere(const Digest& digest) const {
    return sys::tryFstatat(layout.fd(), layout.blobPath(digest)).has_value();
  }
};

TEST_F(CompressedForms, AreFoundByLayerKindAndLevel) {
  const Image image = makeImage("1", {kA});
  const Descriptor blob = packed("packed");
  EXPECT_FALSE(findCompressed(layout, form(image)));
  rememberCompressed(layout, form(image), blob);
  const auto found = findCompressed(layout, form(image));
  ASSERT_TRUE(found);
  EXPECT_EQ(found->digest, blob.digest);
  EXPECT_EQ(found->size, blob.size);
  EXPECT_FALSE(findCompressed(layout, form(image, 3)));
  EXPECT_FALSE(findCompressed(layout, {image.config.diffIds[0], Compression::gzip, 0}));
}

TEST_F(CompressedForms, LiveAsLongAsTheirLayer) {
  const Image image = makeImage("1", {kA});
  const Descriptor blob = packed("packed");
  rememberCompressed(layout, form(image), blob);
  collectGarbage(layout);
  EXPECT_TRUE(findCompressed(layout, form(image)));
  Images{layout}.untag(kA);
  collectGarbage(layout);
  EXPECT_FALSE(isThere(blob.digest));
  EXPECT_TRUE(compressedForms(layout).empty());
}

TEST_F(CompressedForms, ARecordWithoutItsBlobIsNone) {
  const Image image = makeImage("1", {kA});
  const Descriptor blob = packed("packed");
  rememberCompressed(layout, form(image), blob);
  sys::unlinkat(layout.fd(), layout.blobPath(blob.digest), 0);
  EXPECT_FALSE(findCompressed(layout, form(image)));
  sweepCompressed(layout);
  EXPECT_TRUE(compressedForms(layout).empty());
}

TEST_F(CompressedForms, ADamagedRecordIsNone) {
  const Image image = makeImage("1", {kA});
  rememberCompressed(layout, form(image), packed("packed"));
  const std::string name = "cache/compressed/" + image.config.diffIds[0].hex() + "-zstd-0";
  for (const std::string& text : std::vector<std::string>{"", "x", "sha256:12 3"}) {
    fs::replaceFile(layout.fd(), name, text, 0600, fs::Sync::none);
    EXPECT_FALSE(findCompressed(layout, form(image))) << text;
  }
}

}  // namespace
}  // namespace img::store
