// zstd (RFC 8878) undone: frames in a row, skippable ones among them. libzstd writes straight into
// the reader's buffer; a window over 128 MiB is refused, as a frame of a few bytes could ask for
// 2 GiB.
#pragma once

#include <memory>
#include <string>

#include "base/stream.h"

namespace img {

// `inner` gives the compressed bytes from the first one on. Throws Kind::corrupt while it is read.
std::unique_ptr<Source> unzstd(std::unique_ptr<Source> inner, std::string name);

}  // namespace img
