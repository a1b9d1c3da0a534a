// Starts img-remote, the program that speaks HTTP (registry/README.md), and understands its answer.
#pragma once

#include <string>

#include "base/json.h"

namespace img::distribution {

// Runs `img-remote COMMAND` with the request; `body` becomes its descriptor 3. Returns its result
// or throws its error. Kind::unsupported when the program is not there. Blocking: for a worker.
Json callRemote(const std::string& command, const Json& request, int body);

// Where it is. Throws Kind::unsupported.
std::string remoteProgramPath();

// Variables of our environment that decide how the network is reached, "K=V".
std::vector<std::string> networkEnvironment();

}  // namespace img::distribution
