// The last lines of a build (cli.md 9.2, "Summary"), and the records of it that programs read.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "builder/request.h"
#include "cli/build_view.h"

namespace img::cli {

enum class SummaryKind { off, brief, full };

struct BuildOutcome {
  const BuildView& view;
  const builder::Result* result = nullptr;  // null: the build failed with `error`
  const Error* error = nullptr;
  std::vector<std::string> names;  // full form
  std::string dockerfile;          // as in messages
  double seconds = 0;
};

// built / slowest / wasted / skipped, with `full` and a table of the steps before them.
std::string summaryText(const BuildOutcome& outcome, SummaryKind kind);
// The table as Markdown, for GITHUB_STEP_SUMMARY.
std::string summaryMarkdown(const BuildOutcome& outcome);

// What --metadata-file gets (cli.md 9.1); `manifestBytes`: the size of the manifest's blob.
std::string metadataJson(const BuildOutcome& outcome, std::uint64_t manifestBytes);
// builds/<id>/build.json.
std::string recordJson(const BuildOutcome& outcome, long long nowSeconds);

}  // namespace img::cli
