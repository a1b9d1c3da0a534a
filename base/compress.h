// A sink that compresses: gzip (RFC 1952, without name or time) or zstd (RFC 8878), one frame. Same
// bytes and level, same result, whatever the machine: one thread, no date, no file name.
#pragma once

#include <memory>
#include <optional>

#include "base/stream.h"

namespace img {

// The levels of a format; the default where none is given. Throws Kind::usage for one it lacks.
void checkCompressionLevel(Compression compression, int level);

class CompressingSink : public Sink {
 public:
  // Everything that was written is in the inner sink afterwards, with the format's end.
  virtual void finish() = 0;
};

// gzip or zstd; `inner` outlives the result. Throws Kind::unsupported for any other.
std::unique_ptr<CompressingSink> compressTo(Sink& inner, Compression compression,
                                            std::optional<int> level = {});

}  // namespace img
