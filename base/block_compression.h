// A stream compressed in blocks, several at a time: each becomes a member (gzip) or frame (zstd) of
// its own, and they follow each other in order. Behind compress.h.
#pragma once

#include <functional>
#include <memory>

#include "base/compress.h"

namespace img {

// Compresses one block at a time; each thread has its own.
class BlockCompressor {
 public:
  BlockCompressor() = default;
  BlockCompressor(const BlockCompressor&) = delete;
  BlockCompressor& operator=(const BlockCompressor&) = delete;
  virtual ~BlockCompressor() = default;
  // Returns how much of `out`, which has room for BlockFormat::packedBytes, it took.
  virtual size_t compress(std::span<const std::byte> in, std::span<std::byte> out) = 0;
};

struct BlockFormat {
  size_t blockBytes = 0;
  size_t packedBytes = 0;                                  // what a whole block becomes at most
  std::function<std::unique_ptr<BlockCompressor>()> make;  // called by any thread
};

// `threads` at least 1.
std::unique_ptr<CompressingSink> compressBlocks(Sink& inner, BlockFormat format, unsigned threads);

}  // namespace img
