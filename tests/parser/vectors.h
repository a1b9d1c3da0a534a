// Shared by the tests of the parser: variables from a table, and the file of a fixture.
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "parser/expand.h"

namespace img::parser::testing {

using Variables = std::map<std::string, std::string, std::less<>>;

// A Lookup over `variables`, which must outlive it.
inline Lookup lookupIn(const Variables& variables) {
  return [&variables](std::string_view name) -> const std::string* {
    const auto found = variables.find(name);
    return found == variables.end() ? nullptr : &found->second;
  };
}

}  // namespace img::parser::testing
