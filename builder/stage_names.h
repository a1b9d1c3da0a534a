// Stages by name or number, as --from, mount options and --target mean them (dockerfile.md 5.1,
// 5.3).
#pragma once

#include <optional>
#include <string>

#include "parser/dockerfile.h"

namespace img::builder {

// Case-insensitive; the last stage of a name wins, a number counts from 0.
std::optional<int> findStage(const parser::Dockerfile& file, const std::string& name);

// Its name, or "stage-2" for one that has none.
std::string stageName(const parser::Dockerfile& file, size_t index);

// The stage that is built; the last one for an empty name. Throws with the names there are.
int findTarget(const parser::Dockerfile& file, const std::string& target);

}  // namespace img::builder
