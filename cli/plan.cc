#include "cli/plan.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "base/text.h"
#include "builder/build.h"
#include "builder/stage_list.h"
#include "cli/human.h"
#include "cli/report.h"
#include "parser/dockerfile.h"

namespace img::cli {
namespace {

using OrderedJson = nlohmann::ordered_json;

// A look at the plan shows its result only; what is wrong with the Dockerfile is worth a word.
class SilentProgress final : public builder::Progress {
 public:
  explicit SilentProgress(Context& context) : context_(context) {}
  void planned(const builder::Outline&) override {}
  void stepStarted(const builder::StepLabel&, const builder::Miss&) override {}
  void stepCached(const builder::StepLabel&) override {}
  void stepOutput(const builder::StepLabel&, std::string_view) override {}
  void stepDone(const builder::StepLabel&) override {}
  void stepFailed(const builder::StepLabel&, std::string_view) override {}
  void layerSealed(const builder::StepLabel&, const Digest&, std::uint64_t) override {}
  void warning(const Error& warning) override { context_.warn(warning); }

 private:
  Context& context_;
};

builder::Result lookAhead(Context& context, builder::Request request) {
  request.isDryRun = true;
  const store::Layout& layout = context.store();
  const store::StoreUse use{layout};
  SilentProgress progress{context};
  return builder::build(request, layout, progress);
}

std::string estimate(double seconds) {
  return seconds > 0 ? fmt::format(", about {:.1f}s", seconds) : std::string{};
}

std::vector<builder::StageRow> stagesOf(const builder::Request& request) {
  return builder::listStages(
      parser::parseDockerfile(request.dockerfileText, request.dockerfileName), request);
}

std::string dumped(const OrderedJson& json) {
  return json.dump(-1, ' ', false, OrderedJson::error_handler_t::replace) + "\n";
}

OrderedJson stageJson(const builder::StageRow& stage) {
  return {
      {"name", stage.name}, {"base", stage.base}, {"line", stage.line}, {"depends", stage.depends}};
}

OrderedJson stepJson(const builder::StepReport& report) {
  OrderedJson json{{"step", report.label.number}, {"stage", report.label.stageName},
                   {"line", report.label.line},   {"instruction", report.label.text},
                   {"depends", report.needs},     {"key", nullptr},
                   {"cached", report.isCached}};
  if (report.key) json["key"] = report.key->str();
  if (!report.isCached) json["reason"] = report.explanation.miss.text;
  if (report.explanation.seconds > 0) json["seconds"] = report.explanation.seconds;
  return json;
}

}  // namespace

void PlanOptions::addTo(Options& options) {
  options.duration("--cache-ttl", cacheTtl, "Ignore cache records older than this")
      .text("--context-perms", contextPermissions, "keep|git",
            "git: files of the context count and arrive as 0644 or 0755")
      .flag("--dry-run", isDryRun, "Say what would run and why, and build nothing");
}

void PlanOptions::apply(builder::Request& request) const {
  if (contextPermissions != "keep" && contextPermissions != "git") {
    throw Error::make(Kind::usage, "--context-perms {}: use keep or git",
                      text::quote(contextPermissions));
  }
  request.hasGitPermissions = contextPermissions == "git";
  if (!cacheTtl) return;
  if (*cacheTtl < 0) throw Error{Kind::usage, "--cache-ttl: use a duration of zero or more"};
  request.cacheTtl = *cacheTtl / 1'000'000'000;
}

int dryRun(Context& context, const builder::Request& request) {
  const builder::Result result = lookAhead(context, request);
  std::string out;
  double seconds = 0;
  for (const builder::StepReport& report : result.reports) {
    const builder::StepLabel& label = report.label;
    out += fmt::format("#{} [{}] {} ({}:{})\n", label.number, label.stage,
                       ellipsis(printable(label.text), 200), label.fileName, label.line);
    if (report.isCached) {
      out += fmt::format("#{} cached\n", label.number);
      continue;
    }
    seconds += report.explanation.seconds;
    out +=
        fmt::format("#{} would run: {}{}\n", label.number, printable(report.explanation.miss.text),
                    estimate(report.explanation.seconds));
  }
  out += fmt::format("{} of {} steps would run{}\n", result.steps - result.cachedSteps,
                     result.steps, estimate(seconds));
  context.print(out);
  return 0;
}

int printPlan(Context& context, const std::string& what, const builder::Request& request) {
  OrderedJson stages = OrderedJson::array();
  for (const builder::StageRow& stage : stagesOf(request)) {
    stages.push_back(stageJson(stage));
    if (what == "plan") stages.back()["needed"] = stage.isNeeded;
  }
  if (what == "stages") {
    context.print(dumped(stages));
    return 0;
  }
  OrderedJson steps = OrderedJson::array();
  builder::Request local = request;
  local.cacheFrom.clear();  // what this store has; nothing is asked over the network
  for (const builder::StepReport& report : lookAhead(context, local).reports)
    steps.push_back(stepJson(report));
  context.print(dumped({{"stages", std::move(stages)}, {"steps", std::move(steps)}}));
  return 0;
}

}  // namespace img::cli
