// Whether two open files hold the same bytes.
#pragma once

#include <cstdint>

namespace img::store {

// Both are `size` bytes long as far as the caller knows; one that has become shorter differs.
bool isSameContent(int first, int second, std::uint64_t size);

}  // namespace img::store
