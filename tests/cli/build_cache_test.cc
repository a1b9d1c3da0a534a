#include "cli/build_cache.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace img::cli {
namespace {

using builder::CachePlace;

TEST(BuildCache, ABareNameIsAnImageOfARegistry) {
  const CachePlace place = parseCachePlace("registry.example:5000/app:cache", CacheSide::from);
  EXPECT_EQ(place.type, CachePlace::Type::registry);
  EXPECT_EQ(place.reference, "registry.example:5000/app:cache");
  EXPECT_TRUE(place.hasAllStages);
  EXPECT_TRUE(place.isErrorIgnored);
  EXPECT_FALSE(place.hasMounts);
  EXPECT_EQ(place.compression.kind, Compression::zstd);
}

TEST(BuildCache, ReadsEveryAttribute) {
  const CachePlace place = parseCachePlace(
      "type=local,dest=a/b,mode=min,mounts=true,compression=gzip,compression-level=3,"
      "ignore-error=false,tag=main,oci-mediatypes=true,image-manifest=true,reset=1",
      CacheSide::to);
  EXPECT_EQ(place.type, CachePlace::Type::local);
  EXPECT_EQ(place.directory, "a/b");
  EXPECT_EQ(place.tag, "main");
  EXPECT_FALSE(place.hasAllStages);
  EXPECT_TRUE(place.hasMounts);
  EXPECT_FALSE(place.isErrorIgnored);
  EXPECT_EQ(place.compression, (builder::LayerCompression{Compression::gzip, 3, false}));
}

TEST(BuildCache, TheFolderOfASourceIsNamedBySrc) {
  EXPECT_EQ(parseCachePlace("type=local,src=x", CacheSide::from).directory, "x");
  EXPECT_EQ(parseCachePlace("type=inline", CacheSide::to).type, CachePlace::Type::inlined);
}

struct Bad {
  std::string_view name, text;
  CacheSide side;
  std::string_view message, hint;
};
void PrintTo(const Bad& bad, std::ostream* out) {
  *out << bad.text;
}
class BadPlace : public testing::TestWithParam<Bad> {};
TEST_P(BadPlace, IsRefusedWithAHint) {
  try {
    parseCachePlace(GetParam().text, GetParam().side);
    FAIL() << "accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), Kind::usage);
    EXPECT_NE(error.cause().find(GetParam().message), std::string::npos) << error.cause();
    if (GetParam().hint.empty()) return;
    ASSERT_EQ(error.hints().size(), 1U) << error.cause();
    EXPECT_NE(error.hints().front().find(GetParam().hint), std::string::npos)
        << error.hints().front();
  }
}
INSTANTIATE_TEST_SUITE_P(
    Table, BadPlace,
    testing::Values(
        Bad{"Empty", "", CacheSide::from, "it is empty", "type=local,src=DIR"},
        Bad{"NoPair", "type=local,src", CacheSide::from, "\"src\" is no KEY=VALUE", "use REF"},
        Bad{"Type", "type=gha,scope=x", CacheSide::to, "\"gha\" is no type of cache", "use REF"},
        Bad{"Attribute", "type=local,dest=x,shape=round", CacheSide::to,
            "unknown attribute \"shape\"", "there are type, ref"},
        Bad{"Mode", "type=local,dest=x,mode=mid", CacheSide::to, "mode=\"mid\"", "mode=min"},
        Bad{"NoFolderFrom", "type=local", CacheSide::from, "it names no folder", "src=DIR"},
        Bad{"NoFolderTo", "type=local", CacheSide::to, "it names no folder", "dest=DIR"},
        Bad{"SrcTo", "type=local,src=x", CacheSide::to, "other direction", "dest=DIR"},
        Bad{"DestFrom", "type=local,dest=x", CacheSide::from, "other direction", "src=DIR"},
        Bad{"NoRef", "type=registry", CacheSide::to, "it names no image", "ref=REF"},
        Bad{"BadRef", "app/UPPER", CacheSide::to, "must be lowercase", "use REF"},
        Bad{"FolderWithoutType", "src=x", CacheSide::from, "a folder is for type=local",
            "type=local"},
        Bad{"RefOfLocal", "type=local,dest=x,ref=y", CacheSide::to, "ref= is for", ""},
        Bad{"InlineFrom", "type=inline", CacheSide::from, "imported by its name",
            "--cache-from NAME"},
        Bad{"ToDigest",
            "app@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
            CacheSide::to, "a digest cannot be chosen", "name a tag"},
        Bad{"Compression", "type=local,dest=x,compression=lz4", CacheSide::to, "\"lz4\"", ""},
        Bad{"Level", "type=local,dest=x,compression=gzip,compression-level=77", CacheSide::to, "77",
            ""},
        Bad{"Boolean", "type=local,dest=x,mounts=maybe", CacheSide::to, "maybe", ""}),
    [](const auto& test) { return std::string{test.param.name}; });

TEST(BuildCache, TheBuildArgumentOfBuildKitMeansInline) {
  builder::Request request;
  request.buildArgs = {{"BUILDKIT_INLINE_CACHE", "0"}, {"BUILDKIT_INLINE_CACHE", "1"}};
  CacheOptions{}.apply(request);
  EXPECT_TRUE(request.hasInlineCache);
  request.hasInlineCache = false;
  request.buildArgs.emplace_back("BUILDKIT_INLINE_CACHE", "0");
  CacheOptions{}.apply(request);
  EXPECT_FALSE(request.hasInlineCache);
}

TEST(BuildCache, InlineIsNoPlaceOfItsOwn) {
  CacheOptions options;
  options.to = {"type=inline", "type=local,dest=a", "type=local,dest=b"};
  options.from = {"type=local,src=c", "name"};
  builder::Request request;
  options.apply(request);
  EXPECT_TRUE(request.hasInlineCache);
  EXPECT_EQ(request.cacheTo.size(), 2U);
  EXPECT_EQ(request.cacheFrom.size(), 2U);
}

}  // namespace
}  // namespace img::cli
