// A sink that compresses: gzip (RFC 1952, without name or time) or zstd (RFC 8878). Same bytes and
// level, same result, whatever the machine and however many threads work: no date, no file name,
// and where the input is cut depends on its length alone.
// gzip is written as several members, one per MiB of input (RFC 1952, 2.2: "a gzip file consists of
// a series of members"), zstd as frames of 4 MiB (RFC 8878, 3), so that they can be compressed side
// by side. Every reader of either has to go on after the first; those of layers do.
#pragma once

#include <memory>
#include <optional>

#include "base/stream.h"

namespace img {

// The levels of a format; the default where none is given. Throws Kind::usage for one it lacks.
void checkCompressionLevel(Compression compression, int level);

class CompressingSink : public Sink {
 public:
  // As copyAll(from, *this), with nothing copied between the two.
  virtual void takeAll(Source& from) = 0;
  // Everything that was written is in the inner sink afterwards, with the format's end.
  virtual void finish() = 0;
};

// The threads for each of `jobs` streams that are compressed at the same time: the CPUs that this
// process may use, shared out.
unsigned compressionThreads(size_t jobs);

// gzip or zstd; `inner` outlives the result, and only the caller's thread writes to it. Threads
// start with the first whole block and end with the sink: as long as it lives, its process must not
// fork. `threads` 0: compressionThreads(1). Throws Kind::unsupported for other formats.
std::unique_ptr<CompressingSink> compressTo(Sink& inner, Compression compression,
                                            std::optional<int> level = {}, unsigned threads = 0);

}  // namespace img
