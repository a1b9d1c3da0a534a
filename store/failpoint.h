// Played failures: with IMG_FAILPOINT=NAME in the environment the process kills itself where
// failpoint(NAME) stands, as a power cut or kill -9 would. One getenv(3) when it is not set.
#pragma once

#include <string_view>

namespace img::store {

void failpoint(std::string_view name);

}  // namespace img::store
