// How a repository of a registry is reached: which addresses in which order, with which
// certificates and credentials (cli.md 5 and 15, security.md 10). Everything is read here, by the
// caller's own process, and handed to img-remote, which can read no file.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "store/reference.h"

namespace img::distribution {

// What the command line says (cli.md 12: --creds --authfile --cert-dir --tls-verify --retry ...).
struct AccessOptions {
  std::string credentials;        // USER:PASSWORD or USER; empty: looked up
  std::string authFile;           // empty: the usual places
  std::string certDir;            // empty: certs.d/HOST of the usual places
  std::optional<bool> verifyTls;  // nullopt: yes, unless the configuration says otherwise
  std::optional<int> retries;     // nullopt: 3 after the first try
  std::optional<int> retryDelayMs;
  // Tries with a registry that cannot be reached at all, when nobody asked for the network.
  std::optional<int> connectTries;
};

struct Credentials {
  std::string username, password;
  std::string identityToken;  // a refresh token: POSTed to the token server
  std::string registryToken;  // a bearer token, sent as it is
  std::string source;         // for messages: the file, helper or option they came from
  [[nodiscard]] bool isEmpty() const {
    return username.empty() && identityToken.empty() && registryToken.empty();
  }
};

enum class Action { pull, push };

// One address of a repository. The first of a list is tried first; the last is the registry itself.
struct Endpoint {
  std::string host;        // HOST[:PORT] as requests name it: registry-1.docker.io
  std::string repository;  // as this endpoint calls it
  enum class Scheme { https, httpsThenHttp, http } scheme = Scheme::https;
  bool verifiesTls = true;
  bool isMirror = false;
  bool servesTags = true, servesDigests = true;  // pull-from-mirror
  std::string authorities;                       // PEM, besides the system's; may be empty
  std::string clientCertificate, clientKey;      // PEM
  Credentials credentials;
};

// Reads registries.conf, certs.d and credentials; runs credential helpers. Throws Kind::denied for
// a blocked registry, Kind::usage for a damaged file, named with its line.
std::vector<Endpoint> endpointsOf(const store::Reference& reference, Action action,
                                  const AccessOptions& options);

}  // namespace img::distribution
