#include "distribution/auth_document.h"

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/text.h"
#include "distribution/credentials.h"

namespace img::distribution {
namespace {

constexpr char kHubKey[] = "https://index.docker.io/v1/";
constexpr char kTokenUser[] = "<token>";

int digitOf(char c) {
  if (c >= 'A' && c <= 'Z') return c - 'A';
  if (c >= 'a' && c <= 'z') return c - 'a' + 26;
  if (c >= '0' && c <= '9') return c - '0' + 52;
  if (c == '+') return 62;
  return c == '/' ? 63 : -1;
}

// RFC 4648; padding may miss. nullopt: not base64.
std::optional<std::string> decodeBase64(std::string_view encoded) {
  while (!encoded.empty() && encoded.back() == '=') encoded.remove_suffix(1);
  std::string decoded;
  unsigned bits = 0;
  int count = 0;
  for (const char c : encoded) {
    const int digit = digitOf(c);
    if (digit < 0) return std::nullopt;
    bits = (bits << 6) | static_cast<unsigned>(digit);
    count += 6;
    if (count < 8) continue;
    count -= 8;
    decoded.push_back(static_cast<char>((bits >> count) & 0xff));
  }
  return decoded;
}

struct Key {
  std::string host, path;
};

// docker writes URLs ("https://host/v1/"), where only the host counts; podman "host/name/space".
Key parseKey(std::string_view key) {
  const size_t scheme = key.find("://");
  const bool isUrl = scheme != std::string_view::npos;
  if (isUrl) key.remove_prefix(scheme + 3);
  while (key.ends_with('/')) key.remove_suffix(1);
  const size_t slash = key.find('/');
  Key parsed{canonicalHost(key.substr(0, slash)), {}};
  if (slash == std::string_view::npos || isUrl) return parsed;
  const std::string_view path = key.substr(slash + 1);
  if (path != "v1" && path != "v2") parsed.path = path;
  return parsed;
}

bool liesUnder(std::string_view path, std::string_view folder) {
  return folder.empty() || path == folder ||
         (path.starts_with(folder) && path.size() > folder.size() && path[folder.size()] == '/');
}

std::string textOf(const Json& entry, const char* key) {
  const auto found = entry.find(key);
  return found != entry.end() && found->is_string() ? found->get<std::string>() : std::string{};
}

Credentials readEntry(const Json& entry, const std::string& key) {
  Credentials credentials;
  credentials.username = textOf(entry, "username");
  credentials.password = textOf(entry, "password");
  if (const std::string auth = textOf(entry, "auth"); !auth.empty()) {
    const auto decoded = decodeBase64(auth);
    const size_t colon = decoded ? decoded->find(':') : std::string::npos;
    if (colon == std::string::npos) {
      throw Error::make(Kind::usage, "auths: {}: auth is not base64 of USER:PASSWORD",
                        text::quote(key));
    }
    credentials.username = decoded->substr(0, colon);
    credentials.password = decoded->substr(colon + 1);
    // docker's cli, config/configfile: old versions padded the password with zero bytes.
    while (credentials.password.ends_with('\0')) credentials.password.pop_back();
  }
  credentials.identityToken = textOf(entry, "identitytoken");
  credentials.registryToken = textOf(entry, "registrytoken");
  if (credentials.username == kTokenUser) {
    if (credentials.identityToken.empty()) credentials.identityToken = credentials.password;
    credentials.username.clear();
    credentials.password.clear();
  }
  return credentials;
}

const Json* objectAt(const Json& document, const char* key) {
  const auto found = document.find(key);
  return found != document.end() && found->is_object() ? &*found : nullptr;
}

}  // namespace

std::string canonicalHost(std::string_view host) {
  std::string lower = text::lower(host);
  const bool isHub = lower == "index.docker.io" || lower == "registry-1.docker.io";
  return isHub ? "docker.io" : lower;
}

std::string serverKey(const std::string& host) {
  const std::string canonical = canonicalHost(host);
  return canonical == "docker.io" ? kHubKey : canonical;
}

Json parseAuthDocument(std::string_view text, const std::string& origin) {
  if (text::trim(text).empty()) return Json::object();
  try {
    Json document = parseJson(text, origin);
    if (document.is_object()) return document;
  } catch (const Error& error) {
    throw Error{Kind::usage, error.cause()}.code("bad-auth-file");
  }
  throw Error::make(Kind::usage, "{}: not a JSON object", origin).code("bad-auth-file");
}

HelperChoice findHelper(const Json& document, const std::string& host) {
  if (const Json* helpers = objectAt(document, "credHelpers")) {
    for (const auto& [key, name] : helpers->items()) {
      const Key parsed = parseKey(key);
      if (parsed.host == host && parsed.path.empty() && name.is_string())
        return {name.get<std::string>(), true};
    }
  }
  return {textOf(document, "credsStore"), false};
}

std::optional<Credentials> findPlainEntry(const Json& document, const std::string& host,
                                          const std::string& path) {
  const Json* auths = objectAt(document, "auths");
  if (auths == nullptr) return std::nullopt;
  std::optional<Credentials> best;
  size_t bestLength = 0;
  for (const auto& [key, entry] : auths->items()) {
    const Key parsed = parseKey(key);
    if (!entry.is_object() || parsed.host != host || !liesUnder(path, parsed.path)) continue;
    if (best && parsed.path.size() < bestLength) continue;
    Credentials found = readEntry(entry, key);
    // docker leaves empty entries behind for what a helper keeps.
    if (found.isEmpty()) continue;
    best = std::move(found);
    bestLength = parsed.path.size();
  }
  return best;
}

std::vector<std::string> keysOf(const Json& document, const std::string& host) {
  std::vector<std::string> keys;
  const Json* auths = objectAt(document, "auths");
  if (auths == nullptr) return keys;
  for (const auto& [key, entry] : auths->items()) {
    const Key parsed = parseKey(key);
    if (parsed.host == host && parsed.path.empty()) keys.push_back(key);
  }
  return keys;
}

}  // namespace img::distribution
