// The configuration of build checks: the value of `# check=...` and of BUILDKIT_DOCKERFILE_CHECK
// (dockerfile.md 8.1). Blanks around ',' and ';' are allowed (Q3).
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace img::parser {

struct CheckConfig {
  std::vector<std::string> skip;
  std::vector<std::string> experimental;
  bool skipAll = false;
  bool experimentalAll = false;
  bool error = false;
};

// Throws Kind::failed, code "parse", with the {detail} of 1.10 alone.
CheckConfig parseCheckConfig(std::string_view text);

}  // namespace img::parser
