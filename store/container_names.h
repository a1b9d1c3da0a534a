// Names of containers: what is allowed (cli.md section 5), and the `adjective_surname` that one
// gets when the user gives none.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace img::store {

// [a-zA-Z0-9][a-zA-Z0-9_.-]*; the rule for volumes too.
bool isValidContainerName(std::string_view name);

// The same number gives the same name. `attempt` > 2 appends digits, so that a crowded store still
// finds one.
std::string containerNameFor(std::uint64_t random, int attempt);

// 64 lower-case hex digits.
bool isContainerId(std::string_view text);

}  // namespace img::store
