// What differs between the configurations of two images, one line per key: "env PATH: a → b".
#pragma once

#include <string>
#include <vector>

#include "store/oci.h"

namespace img::cli {

struct ConfigChange {
  std::string key;  // "env PATH"
  std::string before, after;
};
// Sorted by key. Lists are compared as wholes, environment, labels and sets by their keys.
std::vector<ConfigChange> diffConfigs(const store::ImageConfig& before,
                                      const store::ImageConfig& after);

}  // namespace img::cli
