// registries.conf of podman, buildah and skopeo (containers-registries.conf.5): where a repository
// really lies, its mirrors, and what is blocked. Only the [[registry]] tables count here.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "store/reference.h"

namespace img::distribution {

struct MirrorRule {
  std::string location;
  bool isInsecure = false;
  bool servesTags = true, servesDigests = true;  // pull-from-mirror, mirror-by-digest-only
};

struct RegistryRule {
  std::string prefix;  // HOST[/PATH...] or *.DOMAIN[/PATH...]
  std::string location;
  bool isInsecure = false, isBlocked = false;
  std::vector<MirrorRule> mirrors;
  std::string origin;  // FILE:LINE
};

// The tables of one file. Throws Kind::usage with file and line for a damaged one.
std::vector<RegistryRule> parseRegistriesConf(std::string_view text, const std::string& origin);

// $CONTAINERS_REGISTRIES_CONF alone; else ~/.config/containers/registries.conf, else the file in
// /etc/containers, and then registries.conf.d/*.conf of /etc and of the user. A later table takes
// the place of an earlier one with the same prefix.
std::vector<RegistryRule> readRegistriesConf();

// The rule with the longest matching prefix; nullptr: none.
const RegistryRule* findRule(const std::vector<RegistryRule>& rules,
                             const store::Reference& reference);

// HOST[:PORT] and path of `reference` when what the rule's prefix matches is called `location`.
struct Place {
  std::string host, path;
};
Place placeAt(const RegistryRule& rule, const std::string& location,
              const store::Reference& reference);

}  // namespace img::distribution
