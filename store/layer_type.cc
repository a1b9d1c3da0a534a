#include "store/layer_type.h"

namespace img::store {

Compression promisedCompression(const Descriptor& layer) {
  const std::string_view type = layer.mediaType;
  if (type.ends_with("gzip")) return Compression::gzip;
  return type.ends_with("zstd") ? Compression::zstd : Compression::none;
}

const char* layerType(Compression compression, bool isDocker) {
  if (compression == Compression::zstd) return media::kLayerZstd;
  if (compression == Compression::gzip)
    return isDocker ? media::kDockerLayerGzip : media::kLayerGzip;
  return isDocker ? media::kDockerLayer : media::kLayer;
}

}  // namespace img::store
