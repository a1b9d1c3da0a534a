// One address of the repository, as the request of a session names it, with what was learnt about
// it on the way: which scheme it speaks, whether it can be reached.
#pragma once

#include <string>
#include <vector>

#include "base/json.h"
#include "registry/http.h"

namespace img::registry {

struct Credentials {
  std::string username, password;
  std::string identityToken;  // a refresh token, for the token server
  std::string registryToken;  // a bearer token, sent as it is
};

struct Endpoint {
  std::string host;        // HOST[:PORT]
  std::string repository;  // as this endpoint calls it
  bool isMirror = false;
  bool servesTags = true, servesDigests = true;
  bool fallsBack = false;  // https is still to be tried; if there is none, http will do (loopback)
  bool isSecure = true;
  bool isLost = false;  // could not be reached: not asked again while there are others
  Transport transport;
  Credentials credentials;

  // `path` is below /v2/; it was checked, so nothing is escaped.
  [[nodiscard]] Url url(const std::string& path) const;
  [[nodiscard]] std::string origin() const;
  [[nodiscard]] std::string place() const;  // for messages: HOST/REPOSITORY
};

// `trust`: certificates instead of the system's, see readTrust(). Throws Kind::usage.
Endpoint parseEndpoint(const Json& json, const std::string& trust);

// `[a-z0-9]+(?:[._-]+[a-z0-9]+)*` joined by slashes; tags and digests (security.md M13, C2): what
// goes into a path is checked here once more, whoever wrote it. Throw Kind::usage.
void checkRepository(const std::string& name);
void checkReference(const std::string& tagOrDigest);
void checkDigest(const std::string& digest);

}  // namespace img::registry
