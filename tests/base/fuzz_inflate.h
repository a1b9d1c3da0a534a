// What inflating promises about any bytes; the fuzzer and the ordinary tests ask for it.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace img::testing {

// A raw DEFLATE stream at the start of `packed`, by our decoder (`piece` bytes of input at a time)
// and by zlib. nullopt: it is damaged.
std::optional<std::string> inflateOurs(std::string_view packed, size_t piece);
std::optional<std::string> inflateZlib(std::string_view packed);

// Aborts when the two do not agree. The first byte chooses the size of the pieces.
void fuzzInflate(std::string_view bytes);

}  // namespace img::testing
