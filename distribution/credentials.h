// Credentials of registries: found in the files and helpers of docker and of podman, and written
// by login (cli.md 15, security.md C5). Nothing of them goes into messages, logs or arguments of
// other programs.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "distribution/access.h"

namespace img::distribution {

// docker.io has several names: index.docker.io, registry-1.docker.io, https://index.docker.io/v1/.
std::string canonicalHost(std::string_view host);

// What a repository is reached with: --creds, --authfile, REGISTRY_AUTH_FILE,
// $XDG_RUNTIME_DIR/containers/auth.json, ~/.config/containers/auth.json,
// $DOCKER_CONFIG/config.json or ~/.docker/config.json, DOCKER_AUTH_CONFIG. The first that knows
// the host decides; --authfile alone is asked when it is given. Empty credentials: none.
Credentials findCredentials(const std::string& host, const std::string& path,
                            const AccessOptions& options);
// The same without --creds: what is stored.
Credentials findStoredCredentials(const std::string& host, const std::string& path,
                                  const AccessOptions& options);

// One file's text. `path` may be empty: the registry as a whole. The key with the longest part of
// the path wins.
std::optional<Credentials> findInAuthFile(std::string_view text, const std::string& origin,
                                          const std::string& host, const std::string& path);

// Where login writes: --authfile, else REGISTRY_AUTH_FILE, else docker's file.
std::string loginFile(const AccessOptions& options);
// Written with mode 0600 by rename; what else is in the file stays. A helper that the file names
// gets the secret instead.
void storeCredentials(const std::string& file, const std::string& host,
                      const Credentials& credentials);
// False: there were none.
bool eraseCredentials(const std::string& file, const std::string& host);
void eraseAllCredentials(const std::string& file);

}  // namespace img::distribution
