// Build checks (dockerfile.md 8): what in a Dockerfile works, but hardly as its author means it.
// An evaluation without effects: no step runs, nothing is fetched, the context is not read. A base
// image is looked at if the store has it. docs/checks has a page for each rule.
#pragma once

#include <optional>
#include <vector>

#include "base/error.h"
#include "builder/check_findings.h"
#include "builder/plan.h"
#include "builder/progress.h"
#include "builder/request.h"
#include "parser/dockerfile.h"

namespace img::builder {

struct CheckOptions {
  bool allStages = false;  // without a target: not only what the last stage needs
  bool extended = false;   // the Img... rules as well
};

struct CheckReport {
  std::vector<Finding> findings;  // by line, then rule
  bool failsBuild = false;        // error=true, and there is a finding
  // The first thing that a build would refuse before a step runs: a FROM line that cannot be
  // evaluated, a word that cannot be expanded. The findings are those of the rest.
  std::optional<Error> error;
};

// Throws for a target that does not exist and for a bad BUILDKIT_DOCKERFILE_CHECK.
CheckReport runChecks(const parser::Dockerfile& file, const Request& request,
                      const CheckOptions& options, const ImageFinder& findImage);

// "Rule: message" at its place; the code is the rule's name.
Error warningOf(const parser::Dockerfile& file, const Finding& finding);

// In a build: the findings of the planned stages are warnings, or end it (error=true).
void reportChecks(const parser::Dockerfile& file, const Request& request, const Plan& plan,
                  Progress& progress);

}  // namespace img::builder
