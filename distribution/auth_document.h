// The JSON that docker (config.json) and podman (auth.json) keep credentials in: auths, credHelpers
// and credsStore. For credentials.cc and its tests.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "distribution/access.h"

namespace img::distribution {

// An object; an empty text is an empty object. Throws Kind::usage for anything else.
Json parseAuthDocument(std::string_view text, const std::string& origin);

// The name of the helper for a host ("" none): credHelpers before credsStore.
struct HelperChoice {
  std::string name;
  bool isForHost = false;  // from credHelpers
};
HelperChoice findHelper(const Json& document, const std::string& host);

// From "auths", the longest key that the repository lies under.
std::optional<Credentials> findPlainEntry(const Json& document, const std::string& host,
                                          const std::string& path);
// The keys of "auths" that mean this host as a whole, whatever their form.
std::vector<std::string> keysOf(const Json& document, const std::string& host);

// The key that docker uses for a host.
std::string serverKey(const std::string& host);

}  // namespace img::distribution
