// Our inflate and zlib's on arbitrary bytes: the same text, or both call it damaged.
#include <cstdint>

#include "tests/base/fuzz_inflate.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, size_t size) {
  img::testing::fuzzInflate({reinterpret_cast<const char*>(data), size});
  return 0;
}
