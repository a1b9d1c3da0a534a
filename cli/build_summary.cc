#include "cli/build_summary.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/json.h"
#include "base/text.h"
#include "cli/human.h"
#include "cli/report.h"
#include "cli/table.h"

namespace img::cli {
namespace {

constexpr double kSlowSeconds = 5;
constexpr size_t kMaxWaste = 3;
constexpr std::uint64_t kWorthALine = 1'000'000;

double secondsOf(const StepView& step) {
  return cli::secondsOf(step, step.endMs);
}

std::string builtLine(const BuildOutcome& outcome) {
  const builder::Result& result = *outcome.result;
  std::string names = text::join(outcome.names, ", ");
  if (!names.empty()) names += "  ";
  // Only files were asked for: there is no image and no id.
  const std::string id =
      result.imageId.isZero() ? std::string{"files"} : "sha256:" + result.imageId.shortHex();
  return fmt::format("built {}{}  {} ({} new)  {:.1f}s  {} of {} cached\n", names, id,
                     formatSize(result.bytes), formatSize(result.newBytes), outcome.seconds,
                     result.cachedSteps, result.steps);
}

std::string slowestLine(const BuildView& view) {
  const StepView* slowest = nullptr;
  for (const auto& [number, step] : view.steps) {
    if (slowest == nullptr || secondsOf(step) > secondsOf(*slowest)) slowest = &step;
  }
  if (slowest == nullptr || secondsOf(*slowest) <= kSlowSeconds) return {};
  return fmt::format("slowest  {}  {:.1f}s\n", stepTitle(slowest->label), secondsOf(*slowest));
}

std::string wastedLines(const builder::Result& result) {
  std::string out;
  for (size_t i = 0; i < std::min(result.wasted.size(), kMaxWaste); ++i) {
    const builder::Waste& waste = result.wasted[i];
    if (i > 0 && waste.bytes <= kWorthALine) break;
    out += fmt::format("wasted   {}  {}\n", formatSize(waste.bytes),
                       printable(builder::wasteText(waste)));
  }
  return out;
}

std::string skippedLines(const BuildOutcome& outcome) {
  std::string out;
  for (const auto& [label, line] : outcome.view.outline.skippedStages) {
    out += fmt::format("skipped  stage \"{}\" ({}:{}), not needed for the target\n",
                       printable(label), printable(outcome.dockerfile), line);
  }
  return out;
}

std::vector<std::vector<std::string>> stepTable(const BuildView& view) {
  std::vector<std::vector<std::string>> rows{
      {"STEP", "LINE", "TIME", "SIZE", "CACHED", "REASON", "INSTRUCTION"}};
  for (const auto& [number, step] : view.steps) {
    const bool isCached = step.state == StepView::State::cached;
    rows.push_back({std::to_string(number), std::to_string(step.label.line),
                    isCached ? "-" : fmt::format("{:.1f}s", secondsOf(step)),
                    step.layer ? formatSize(step.bytes) : "-", isCached ? "yes" : "no",
                    step.reason.empty() ? "-" : step.reason,
                    "[" + step.label.stage + "] " + ellipsis(stepText(step.label), 60)});
  }
  return rows;
}

std::string inMarkdown(std::string_view cell) {
  std::string out;
  for (const char c : printable(cell)) {
    if (c == '|' || c == '\\' || c == '`' || c == '<') out += '\\';
    out += c;
  }
  return out;
}

// With what the builder itself measured, when it came to an end.
Json stepsJson(const BuildOutcome& outcome) {
  Json steps = Json::array();
  for (const auto& [number, step] : outcome.view.steps) {
    std::uint64_t bytes = step.bytes;
    std::string reason = step.reason;
    if (outcome.result != nullptr) {
      for (const builder::StepReport& report : outcome.result->reports) {
        if (report.label.number != number) continue;
        bytes = report.bytes;
        if (!report.reason.empty()) reason = report.reason;
      }
    }
    Json item = {{"index", number},
                 {"line", step.label.line},
                 {"stage", step.label.stage},
                 {"instruction", step.label.text},
                 {"cached", step.state == StepView::State::cached},
                 {"reason", reason},
                 {"seconds", secondsOf(step)},
                 {"bytes", bytes}};
    if (!step.error.empty()) item["error"] = step.error;
    steps.push_back(std::move(item));
  }
  return steps;
}

// The object that --error-format=json prints.
Json errorJson(const Error& error) {
  ReportStyle style;
  style.json = true;
  return parseJson(renderReport(error, style), "error");
}

}  // namespace

std::string summaryText(const BuildOutcome& outcome, SummaryKind kind) {
  if (kind == SummaryKind::off) return {};
  std::string out;
  if (kind == SummaryKind::full) out += layoutTable(stepTable(outcome.view));
  return out + builtLine(outcome) + slowestLine(outcome.view) + wastedLines(*outcome.result) +
         skippedLines(outcome);
}

std::string summaryMarkdown(const BuildOutcome& outcome) {
  std::string out;
  const std::vector<std::vector<std::string>> rows = stepTable(outcome.view);
  for (size_t i = 0; i < rows.size(); ++i) {
    for (const std::string& cell : rows[i]) out += "| " + inMarkdown(cell) + " ";
    out += "|\n";
    if (i > 0) continue;
    for (size_t column = 0; column < rows[i].size(); ++column) out += "| --- ";
    out += "|\n";
  }
  if (outcome.result != nullptr) {
    out += "\n" + inMarkdown(text::trim(builtLine(outcome))) + "\n";
  } else if (outcome.error != nullptr) {
    out += "\nfailed: " + inMarkdown(outcome.error->cause()) + "\n";
  }
  return out;
}

std::string metadataJson(const BuildOutcome& outcome, std::uint64_t manifestBytes) {
  Json json = {{"img.build.id", outcome.view.outline.buildId}, {"img.steps", stepsJson(outcome)}};
  if (outcome.result != nullptr && !outcome.result->manifest.isZero()) {
    const std::string manifest = outcome.result->manifest.str();
    json["containerimage.config.digest"] = outcome.result->imageId.str();
    json["containerimage.digest"] = manifest;
    json["containerimage.descriptor"] = {
        {"mediaType", outcome.result->manifestType}, {"digest", manifest}, {"size", manifestBytes}};
    if (!outcome.names.empty()) json["image.name"] = text::join(outcome.names, ",");
  }
  if (outcome.error != nullptr) json["img.error"] = errorJson(*outcome.error);
  return dumpJson(json) + "\n";
}

std::string recordJson(const BuildOutcome& outcome, long long nowSeconds) {
  Json json = {{"id", outcome.view.outline.buildId},
               {"created", text::formatTime(nowSeconds)},
               {"names", outcome.names},
               {"dockerfile", outcome.dockerfile},
               {"seconds", outcome.seconds},
               {"steps", stepsJson(outcome)}};
  if (outcome.result != nullptr && !outcome.result->imageId.isZero())
    json["image"] = outcome.result->imageId.str();
  if (outcome.error != nullptr) json["error"] = outcome.error->cause();
  return dumpJson(json) + "\n";
}

}  // namespace img::cli
