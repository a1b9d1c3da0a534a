// The variables of this process. Nothing here ever sets one while threads run, so getenv(3) is safe
// from each of them.
#pragma once

#include <optional>
#include <string>

namespace img {

// nullopt: not set. The value of one that is set may be empty.
std::optional<std::string> findVariable(const std::string& name);
// For those that mean the same when empty as when not set.
std::string variableOrEmpty(const std::string& name);

}  // namespace img
