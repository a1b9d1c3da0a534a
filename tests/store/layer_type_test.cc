#include "store/layer_type.h"

#include <gtest/gtest.h>

#include <ostream>

namespace img::store {
namespace {

struct Case {
  std::string_view name;
  Compression compression;
  bool isDocker;
  std::string_view type;
};
void PrintTo(const Case& c, std::ostream* out) {
  *out << c.name;
}

constexpr Case kCases[] = {
    {"Plain", Compression::none, false, media::kLayer},
    {"Gzip", Compression::gzip, false, media::kLayerGzip},
    {"Zstd", Compression::zstd, false, media::kLayerZstd},
    {"DockerPlain", Compression::none, true, media::kDockerLayer},
    {"DockerGzip", Compression::gzip, true, media::kDockerLayerGzip},
    // docker's schema 2 has none of its own.
    {"DockerZstd", Compression::zstd, true, media::kLayerZstd},
};
class LayerType : public testing::TestWithParam<Case> {};

TEST_P(LayerType, SaysHowTheLayerIsCompressed) {
  Descriptor layer;
  layer.mediaType = layerType(GetParam().compression, GetParam().isDocker);
  EXPECT_EQ(layer.mediaType, GetParam().type);
  EXPECT_EQ(promisedCompression(layer), GetParam().compression);
}

INSTANTIATE_TEST_SUITE_P(Types, LayerType, testing::ValuesIn(kCases),
                         [](const auto& test) { return std::string{test.param.name}; });

TEST(LayerType, OfAnUnknownTypePromisesNothing) {
  Descriptor layer;
  layer.mediaType = "application/octet-stream";
  EXPECT_EQ(promisedCompression(layer), Compression::none);
}

}  // namespace
}  // namespace img::store
