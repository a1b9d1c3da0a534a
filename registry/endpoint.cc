#include "registry/endpoint.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <string_view>

#include "base/digest.h"
#include "base/error.h"
#include "base/text.h"

namespace img::registry {
namespace {

bool isLowerOrDigit(char c) {
  return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}
bool isWordChar(char c) {
  return isLowerOrDigit(c) || (c >= 'A' && c <= 'Z') || c == '_';
}

bool isComponent(const std::string& part) {
  if (part.empty() || !isLowerOrDigit(part.front()) || !isLowerOrDigit(part.back())) return false;
  return std::all_of(part.begin(), part.end(),
                     [](char c) { return isLowerOrDigit(c) || c == '.' || c == '_' || c == '-'; });
}

bool isTag(const std::string& tag) {
  if (tag.empty() || tag.size() > 128 || !isWordChar(tag.front())) return false;
  return std::all_of(tag.begin(), tag.end(),
                     [](char c) { return isWordChar(c) || c == '.' || c == '-'; });
}

Credentials parseCredentials(const Json& json) {
  return {json.value("username", ""), json.value("password", ""), json.value("identity_token", ""),
          json.value("registry_token", "")};
}

}  // namespace

Url Endpoint::url(const std::string& path) const {
  return Url::parse(fmt::format("{}://{}/v2/{}", isSecure ? "https" : "http", host, path));
}

std::string Endpoint::origin() const {
  return url("").origin();
}

std::string Endpoint::place() const {
  return host + "/" + repository;
}

Endpoint parseEndpoint(const Json& json, const std::string& trust) {
  Endpoint endpoint;
  endpoint.host = json.value("host", "");
  endpoint.repository = json.value("repository", "");
  endpoint.isMirror = json.value("is_mirror", false);
  endpoint.servesTags = json.value("serves_tags", true);
  endpoint.servesDigests = json.value("serves_digests", true);
  // None: the registry as a whole, to check a login.
  if (!endpoint.repository.empty()) checkRepository(endpoint.repository);
  if (endpoint.host.empty() || endpoint.host.find_first_of("/?#@ \t\r\n") != std::string::npos) {
    throw Error::make(Kind::usage, "{} is no host", text::quote(endpoint.host));
  }
  const std::string scheme = json.value("scheme", "https");
  const bool isLoopback = endpoint.url("").isLoopback();
  endpoint.isSecure = scheme != "http";
  // security.md C1: never a silent step down from https, but on loopback and where the user asked
  // for no verification (insecure in registries.conf, --tls-verify=false; cli.md 5).
  const bool isTrusted = isLoopback || !json.value("verify_tls", true);
  endpoint.fallsBack = scheme == "https-then-http" && isTrusted;

  Transport& transport = endpoint.transport;
  transport.verifiesTls = json.value("verify_tls", true);
  transport.authorities = trust + json.value("authorities", "");
  transport.clientCertificate = json.value("client_certificate", "");
  transport.clientKey = json.value("client_key", "");
  transport.usesProxy = !isLoopback;
  if (json.contains("credentials")) endpoint.credentials = parseCredentials(json["credentials"]);
  return endpoint;
}

void checkRepository(const std::string& name) {
  const std::vector<std::string> parts = text::split(name, '/');
  const bool isValid =
      name.size() <= 255 && !parts.empty() && std::all_of(parts.begin(), parts.end(), isComponent);
  if (!isValid) throw Error::make(Kind::usage, "{} is no repository", text::quote(name));
}

void checkReference(const std::string& tagOrDigest) {
  if (!isTag(tagOrDigest) && !Digest::tryParse(tagOrDigest)) {
    throw Error::make(Kind::usage, "{} is neither a tag nor a digest", text::quote(tagOrDigest));
  }
}

void checkDigest(const std::string& digest) {
  if (!Digest::tryParse(digest)) {
    throw Error::make(Kind::usage, "{} is no digest", text::quote(digest));
  }
}

}  // namespace img::registry
