// gzip decompressed by `img-remote inflate`: twice as fast as zlib here, and in a process without
// privileges. Short streams, and all where the program is missing, are inflated in this process.
#pragma once

#include <memory>
#include <string>

#include "base/stream.h"

namespace img::distribution {

// As gunzip() of base/gunzip.h, whatever is installed there. A thread of its own feeds the program
// from `inner`; it has ended, and nobody reads `inner` any more, when the result is destroyed.
std::unique_ptr<Source> inflateRemotely(std::unique_ptr<Source> inner, std::string name);

// From here on gunzip() goes that way.
void installRemoteInflate();

}  // namespace img::distribution
