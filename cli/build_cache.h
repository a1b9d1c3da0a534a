// Options of img build that share results of steps with other machines: --cache-from, --cache-to
// (cli.md 9.4).
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "builder/cache_place.h"
#include "builder/request.h"
#include "cli/options.h"

namespace img::cli {

struct CacheOptions {
  std::vector<std::string> from, to;

  void addTo(Options& options);
  // After the build arguments are known: BUILDKIT_INLINE_CACHE is one.
  void apply(builder::Request& request) const;
};

enum class CacheSide { from, to };
// One value of --cache-from or --cache-to. Throws Kind::usage with a hint.
builder::CachePlace parseCachePlace(std::string_view text, CacheSide side);

}  // namespace img::cli
