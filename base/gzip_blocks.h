// gzip by libdeflate: whole blocks, several at a time. Behind compress.h.
#pragma once

#include <memory>

#include "base/compress.h"

namespace img {

inline constexpr int kGzipDefaultLevel = 6;

// `level` 1 to 9; `threads` at least 1.
std::unique_ptr<CompressingSink> gzipTo(Sink& inner, int level, unsigned threads);

}  // namespace img
