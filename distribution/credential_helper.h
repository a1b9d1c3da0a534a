// Credential helpers: programs docker-credential-NAME that keep credentials somewhere safer than a
// file (docker-credential-helpers, README.md). Found by the caller's PATH, run with the caller's
// rights; limits of security.md C5: 30 s and 1 MiB of answer.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "distribution/access.h"

namespace img::distribution {

// nullopt: the helper has nothing for the server. Throws when it is missing or fails.
std::optional<Credentials> getFromHelper(const std::string& name, const std::string& server);
void storeWithHelper(const std::string& name, const std::string& server,
                     const Credentials& credentials);
// A helper that has nothing for the server is fine.
void eraseWithHelper(const std::string& name, const std::string& server);

}  // namespace img::distribution
