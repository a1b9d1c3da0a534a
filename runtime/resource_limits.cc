#include "runtime/resource_limits.h"

#include <sys/resource.h>

#include <algorithm>
#include <iterator>

namespace img::runtime {
namespace {

struct Name {
  std::string_view name;
  int resource;
};

constexpr Name kNames[] = {{"core", RLIMIT_CORE},         {"cpu", RLIMIT_CPU},
                           {"data", RLIMIT_DATA},         {"fsize", RLIMIT_FSIZE},
                           {"locks", RLIMIT_LOCKS},       {"memlock", RLIMIT_MEMLOCK},
                           {"msgqueue", RLIMIT_MSGQUEUE}, {"nice", RLIMIT_NICE},
                           {"nofile", RLIMIT_NOFILE},     {"nproc", RLIMIT_NPROC},
                           {"rss", RLIMIT_RSS},           {"rtprio", RLIMIT_RTPRIO},
                           {"rttime", RLIMIT_RTTIME},     {"sigpending", RLIMIT_SIGPENDING},
                           {"stack", RLIMIT_STACK}};

}  // namespace

std::optional<int> resourceByName(std::string_view name) {
  const auto found = std::find_if(std::begin(kNames), std::end(kNames),
                                  [&](const Name& known) { return known.name == name; });
  if (found == std::end(kNames)) return std::nullopt;
  return found->resource;
}

std::string_view resourceName(int resource) {
  const auto found = std::find_if(std::begin(kNames), std::end(kNames),
                                  [&](const Name& known) { return known.resource == resource; });
  return found == std::end(kNames) ? std::string_view{} : found->name;
}

}  // namespace img::runtime
