// Whether something happens for the first time in this store, as far as it remembers: a table of
// fixed size, in which a newer thing may take the place of an older one. Two processes that ask at
// the same moment may both be first.
#pragma once

#include "base/digest.h"
#include "store/layout.h"

namespace img::builder {

// And from now on it is not. A store that cannot be written to has seen everything.
bool isFirstTime(const store::Layout& layout, const Digest& what);

}  // namespace img::builder
