#include <cstdint>

#include "tests/parser/fuzz_targets.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, size_t size) {
  img::parser::testing::fuzzIgnore({reinterpret_cast<const char*>(data), size});
  return 0;
}
