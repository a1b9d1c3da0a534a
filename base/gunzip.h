// gzip (RFC 1952) undone: one member or several in a row, each with its CRC-32 and length checked.
// What follows the last member and is no member is ignored, as gzip(1) does.
#pragma once

#include <memory>
#include <string>

#include "base/stream.h"

namespace img {

// `inner` gives the compressed bytes from the first one on. Throws Kind::corrupt while it is read.
std::unique_ptr<Source> gunzip(std::unique_ptr<Source> inner, std::string name);

// The same by zlib in this process, which is what gunzip() does until another way is installed
// (before the first thread).
std::unique_ptr<Source> gunzipHere(std::unique_ptr<Source> inner, std::string name);
using Gunzip = std::unique_ptr<Source> (*)(std::unique_ptr<Source> inner, std::string name);
void installGunzip(Gunzip gunzip);

}  // namespace img
