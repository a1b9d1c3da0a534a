#include <gtest/gtest.h>

#include "builder/cache.h"
#include "store/blobs.h"
#include "tests/builder/support.h"

namespace img::builder {
namespace {

class StepCacheTest : public testing::Test {
 protected:
  StepCacheTest() : layout_(store::Layout::open(temp_.path() + "/store")) {
    layer_.descriptor = store::putBlob(layout_, "layer", "application/vnd.oci.image.layer.v1.tar");
    layer_.diffId = layer_.descriptor->digest;
    layer_.bytes = 12345;
    layer_.created = "2026-01-02T03:04:05Z";
  }
  fs::TempDir temp_;
  store::Layout layout_;
  Layer layer_;
  const Digest key_ = Digest::of("key"), state_ = Digest::of("state");
};

struct Record {
  const char* name;
  std::string instruction;
  StepKeys known;
};
void PrintTo(const Record& record, std::ostream* out) {
  *out << record.name;
}

class StepCacheRecord : public StepCacheTest, public testing::WithParamInterface<Record> {};

TEST_P(StepCacheRecord, ComesBackAsItWas) {
  const auto& [name, instruction, known] = GetParam();
  const StepCache cache{layout_};
  cache.remember(key_, layer_, state_, instruction, known);
  const auto hit = cache.find(key_);
  ASSERT_TRUE(hit);
  EXPECT_EQ(hit->instruction, instruction);
  EXPECT_EQ(hit->state, state_);
  EXPECT_EQ(hit->known.keys, known.keys);
  EXPECT_EQ(hit->known.own, known.own);
  EXPECT_EQ(hit->layer->diffId, layer_.diffId);
  EXPECT_EQ(hit->layer->descriptor->digest, layer_.descriptor->digest);
  EXPECT_EQ(hit->layer->descriptor->mediaType, layer_.descriptor->mediaType);
  EXPECT_EQ(hit->layer->descriptor->size, layer_.descriptor->size);
  EXPECT_EQ(hit->layer->bytes, layer_.bytes);
  EXPECT_EQ(hit->layer->created, layer_.created);
}

INSTANTIATE_TEST_SUITE_P(
    StepCache, StepCacheRecord,
    testing::Values(
        Record{"usual", "RUN true", {{Digest::of("a"), Digest::of("b")}, Digest::of("c")}},
        Record{"without names", "RUN true", {}},
        Record{"one key", "RUN true", {{Digest::of("a")}, {}}},
        Record{"own only", "RUN true", {{}, Digest::of("c")}},
        Record{"escapes", "RUN echo \"a\\b\"\n\x01", {{Digest::of("a")}, Digest::of("c")}},
        Record{"like a record", R"(","keys":["})", {{Digest::of("a")}, {}}},
        Record{"no text", "", {}}, Record{"umlaut", "RUN echo ä", {}}));

TEST_F(StepCacheTest, TakesARecordWithAnyOtherByteForNone) {
  const StepCache cache{layout_};
  cache.remember(key_, layer_, state_, "RUN \"x\"", {{Digest::of("a")}, Digest::of("c")});
  const Fd folder = sys::openDirectory(layout_.fd(), "cache/steps");
  const std::string whole = fs::readFile(folder.get(), key_.hex());
  for (size_t i = 0; i < whole.size(); ++i) {
    std::string text = whole;
    text[i] = text[i] == '1' ? '2' : '1';
    fs::replaceFile(folder.get(), key_.hex(), text, 0600, fs::Sync::none);
    EXPECT_FALSE(cache.find(key_)) << text;
    EXPECT_EQ(cache.whyAbsent(key_), StepCache::Absence::damaged) << text;
  }
  for (const size_t length : {size_t{0}, size_t{5}, whole.size() / 2, whole.size() - 1}) {
    fs::replaceFile(folder.get(), key_.hex(), whole.substr(0, length), 0600, fs::Sync::none);
    EXPECT_FALSE(cache.find(key_)) << length;
  }
}

}  // namespace
}  // namespace img::builder
