// What a build would do, without doing it: --dry-run, --print=stages, --print=plan; and the options
// that decide what counts for the cache (cli.md 9.1).
#pragma once

#include <optional>
#include <string>

#include "builder/request.h"
#include "cli/command.h"
#include "cli/options.h"

namespace img::cli {

struct PlanOptions {
  bool isDryRun = false;
  std::optional<long long> cacheTtl;  // nanoseconds
  std::string contextPermissions = "keep";

  void addTo(Options& options);
  // Throws Kind::usage for values that mean nothing.
  void apply(builder::Request& request) const;
};

// One line per step and a last one with the sum.
int dryRun(Context& context, const builder::Request& request);
// `what`: stages or plan.
int printPlan(Context& context, const std::string& what, const builder::Request& request);

}  // namespace img::cli
