// Work that is spread over forked children, each of which answers with a text: for what a single
// process would need all day for, and what may stumble over damaged input.
#pragma once

#include <functional>
#include <string>
#include <vector>

namespace img::store {

// At most one child per CPU at a time; the answers come in the order of the tasks. For
// single-threaded processes only. The first error ends all and is rethrown.
std::vector<std::string> answersOf(const std::vector<std::function<std::string()>>& tasks);

}  // namespace img::store
