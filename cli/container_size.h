// How large a container is: the bytes of the files in its read-write layer, and those of its image.
#pragma once

#include <cstdint>

#include "store/containers.h"
#include "store/layout.h"

namespace img::cli {

struct ContainerSize {
  std::uint64_t own = 0, image = 0;
};
ContainerSize containerSize(const store::Layout& layout, const store::ContainerConfig& config);

}  // namespace img::cli
