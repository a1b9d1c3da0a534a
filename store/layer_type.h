// How a layer is compressed, and the media type that says so (image-spec layer.md, "Zstandard";
// docker's manifest schema 2 has no type for zstd).
#pragma once

#include "base/stream.h"
#include "store/oci.h"

namespace img::store {

// What the media type promises; none for a type that does not tell.
Compression promisedCompression(const Descriptor& layer);
// gzip, zstd, or none for everything else.
const char* layerType(Compression compression, bool isDocker = false);

}  // namespace img::store
