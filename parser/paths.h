// Paths as text; nothing here looks at a file system.
#pragma once

#include <string>
#include <string_view>

namespace img::parser {

// Removes ".", double and trailing slashes, and ".." with what it follows ("..", never above "/").
// The empty result is ".".
std::string cleanPath(std::string_view path);

}  // namespace img::parser
