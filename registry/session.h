// The command `session`: requests to one repository, many at once, through a socket (README.md has
// the protocol). The configuration comes as the request; there is no result but the answers.
#pragma once

#include <string>

#include "base/json.h"

namespace img::registry {

// Returns null when the caller has closed `socket`.
Json runSession(const Json& configuration, int socket, const std::string& trust);

}  // namespace img::registry
