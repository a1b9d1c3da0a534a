// What `img build` does when a step fails: --debug, --on-fail, --on-fail-copy, --exit-code,
// --timeout (cli.md 3, 9.1, 9.8).
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "builder/request.h"
#include "cli/options.h"

namespace img::cli {

struct FailureOptions {
  std::string exitCode = "step", onFail = "keep";
  std::vector<std::string> copies;   // SRC:DEST
  std::optional<std::string> debug;  // on-error, before:LINE, after:LINE
  std::optional<long long> timeout;  // nanoseconds

  void addTo(Options& options);
  // Throws Kind::usage.
  void apply(builder::Request& request) const;
  // cli.md 3: the exit code of the failed step, or 1 for those who expect what BuildKit does.
  void setExitCode(Error& error) const;
};

}  // namespace img::cli
