// index.json as a value. A command looks at it up to five times, and in a store of a thousand
// images parsing it is most of that: bytes that are the same as last time are not parsed again.
#pragma once

#include <memory>
#include <string>

#include "store/oci.h"

namespace img::store {

// As parseIndex().
std::shared_ptr<const Index> parseIndexOnce(std::string text, const std::string& origin);

}  // namespace img::store
