// One image of an OCI image layout that another tool wrote, or of another store, taken into ours
// (image-spec image-layout.md). Every blob is hashed on the way; nothing is named.
#pragma once

#include <string>

#include "store/images.h"
#include "store/layout.h"

namespace img::store {

// `selector`: a tag ("latest"), or a digest ("sha256:..."). An index gives the image of
// `platform`. `name` opens messages. Throws Kind::notFound with the names there are. The
// caller holds a StoreUse.
Image adoptImage(const Layout& layout, int directory, const std::string& selector,
                 const Platform& platform, const std::string& name);

}  // namespace img::store
