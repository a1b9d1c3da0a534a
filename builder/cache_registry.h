// Caches in registries: the blobs and documents of one reference, through a session of their own.
#pragma once

#include <memory>

#include "builder/cache_origin.h"

namespace img::builder {

std::unique_ptr<CacheOrigin> registryOrigin(const CachePlace& place,
                                            const distribution::AccessOptions& access);

}  // namespace img::builder
