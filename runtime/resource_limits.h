// The names of the limits of setrlimit(2), as `ulimit` and --ulimit write them.
#pragma once

#include <optional>
#include <string_view>

namespace img::runtime {

// "nofile" -> RLIMIT_NOFILE; nullopt for a name that is none.
std::optional<int> resourceByName(std::string_view name);
// The other way round; "" for a number that has no name.
std::string_view resourceName(int resource);

}  // namespace img::runtime
