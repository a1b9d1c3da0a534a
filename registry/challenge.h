// The header WWW-Authenticate (RFC 9110 11.6.1): one or several challenges, each a scheme with
// parameters.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace img::registry {

struct Challenge {
  std::string scheme;                         // in lower case: "basic", "bearer"
  std::map<std::string, std::string> values;  // names in lower case
  [[nodiscard]] std::string value(const std::string& name) const;
};

// Throws Kind::corrupt when it is malformed or longer than 64 KiB.
std::vector<Challenge> parseChallenges(std::string_view header);

}  // namespace img::registry
