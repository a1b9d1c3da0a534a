// --explain: why a step runs, for people and as JSON (cli.md 9.3).
#pragma once

#include <string>
#include <vector>

#include "builder/miss.h"
#include "builder/progress.h"

namespace img::cli {

enum class ExplainMode { none, text, all, json };
// The word of --explain; throws Kind::usage.
ExplainMode explainMode(const std::string& word);

// The lines below a step's header: "   miss: 4 inputs changed since build 8f3a2c (today 14:02)" and
// one per change, at most 20 of them unless `all`. Of a hit nothing unless `all`. `now`: seconds
// since the epoch.
std::vector<std::string> explainLines(const builder::Explanation& explanation, bool all,
                                      long long now);

// One object on one line.
std::string explainJson(const builder::StepLabel& step, const builder::Explanation& explanation);

// "today 14:02", "yesterday 9:15", "2026-01-31 12:00" in local time; empty when unreadable.
std::string formatWhen(const std::string& rfc3339, long long now);

}  // namespace img::cli
