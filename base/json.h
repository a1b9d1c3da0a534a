// nlohmann::json behind two functions, so that its exceptions never leave this unit and every
// message names where the text came from. Limits of security.md M9: depth 64, no duplicate keys,
// valid UTF-8.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

namespace img {

using Json = nlohmann::json;

// Throws Kind::corrupt: "ORIGIN: <what is wrong> at byte N".
Json parseJson(std::string_view text, std::string_view origin);
// Compact, keys sorted (std::map order), invalid UTF-8 replaced.
std::string dumpJson(const Json& value);

}  // namespace img
