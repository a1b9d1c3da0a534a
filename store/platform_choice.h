// Which image of an index is meant on a platform (image-spec image-index.md).
#pragma once

#include "store/oci.h"

namespace img::store {

// The first entry for `wanted`; an index of one entry need not name a platform. `self` is the
// index, for the message. Throws Kind::notFound, code "platform-missing".
const Descriptor& pickPlatform(const Index& index, const Descriptor& self, const Platform& wanted);

}  // namespace img::store
