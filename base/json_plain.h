// What nearly every JSON document of ours is made of, read and written without looking at each
// character on its own: an image of a hundred layers has some 20 KB of it in its documents, and
// each start of a container reads and writes them. What is unusual is left to the library, and so
// are all errors: where parsePlainJson() gives a value, the library would have given the same one.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>

namespace img {

// nullopt: not valid, or it has what only the library reads: \u escapes, text beyond ASCII, numbers
// that are no integers of up to 18 digits, a key twice, more than `maxDepth` levels.
std::optional<nlohmann::json> parsePlainJson(std::string_view text, size_t maxDepth);

// Byte for byte what json::dump() writes with no indentation, without ASCII only and with
// replacement of invalid UTF-8.
std::string writeJson(const nlohmann::json& value);

}  // namespace img
