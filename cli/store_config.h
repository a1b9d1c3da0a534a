// [store] of the configuration files /etc/img/config.toml and $XDG_CONFIG_HOME/img/config.toml, the
// user's over the system's, IMG_STORE_MAX_SIZE and IMG_STORE_RESERVE over both (cli.md 7):
//   max-size = "0"      the whole store, "50g"; 0: no ceiling
//   reserve = "10%"     what stays free on its file system: a share (of inodes, too) or a size
#pragma once

#include <string>
#include <vector>

#include "base/error.h"
#include "cli/command.h"
#include "store/eviction.h"

namespace img::cli {

struct StoreConfig {
  store::SpaceLimits limits;
  std::vector<Error> warnings;  // unknown keys, with file and line
};

// Without any setting: 10%, but 10 GiB at most.
StoreConfig readStoreConfig(const std::vector<std::string>& files);
// From the usual places, IMG_CONFIG in their stead; warnings are shown.
store::SpaceLimits storeLimits(Context& context);

}  // namespace img::cli
