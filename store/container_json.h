// Container records to and from JSON (config.json and state.json of containers.h). Private to this
// store; unknown members are ignored, missing ones take their defaults, wrong types are
// Kind::corrupt.
#pragma once

#include <string>
#include <string_view>

#include "store/containers.h"

namespace img::store {

std::string toJson(const ContainerConfig& config);
std::string toJson(const ContainerState& state);
// `withImage` also reads the copy of the image's config, which costs as much as all the rest.
ContainerConfig parseContainerConfig(std::string_view json, std::string_view origin,
                                     bool withImage);
ContainerState parseContainerState(std::string_view json, std::string_view origin);

}  // namespace img::store
