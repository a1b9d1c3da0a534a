// Several images pulled side by side, each in a forked child of its own: the bases of one build,
// which may come from different registries.
#pragma once

#include <optional>
#include <vector>

#include "base/error.h"
#include "distribution/pull.h"

namespace img::distribution {

// As many results as requests: what each pull has thrown; nullopt: its image is in the store. One
// that fails leaves the others alone. `progress` hears of all of them, from this thread; a layer
// that two of them have is downloaded once. Forks, as pullImage() does.
std::vector<std::optional<Error>> pullTogether(const store::Layout& layout,
                                               const std::vector<PullRequest>& requests,
                                               PullProgress& progress);

}  // namespace img::distribution
