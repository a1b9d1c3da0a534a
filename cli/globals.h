// The options that every command takes, before or after its name (cli.md section 1), as one table.
#pragma once

#include <array>
#include <string>
#include <string_view>

#include "cli/command.h"

namespace img::cli {

struct GlobalOption {
  std::string_view names, meta, help;  // no meta: a flag
  void (*apply)(Context& context, const std::string& value);
};

extern const std::array<GlobalOption, 7> kGlobalOptions;

// What the environment says, before any option (section 7).
void applyEnvironment(Context& context);

}  // namespace img::cli
