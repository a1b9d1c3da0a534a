// Played failures: with IMG_FAILPOINT=NAME in the environment the process kills itself where
// failpoint(NAME) stands, as a power cut or kill -9 would; with NAME@N when it comes there for the
// N-th time, and with NAME:stop it stops there instead (SIGSTOP), so that a test can take the power
// away and then kill it. One getenv(3) when it is not set. The names: store/README.md.
#pragma once

#include <string_view>

namespace img::store {

void failpoint(std::string_view name);

}  // namespace img::store
