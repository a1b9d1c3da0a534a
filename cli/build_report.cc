#include "cli/build_report.h"

#include <memory>
#include <optional>

#include "base/environment.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/sys.h"
#include "base/text.h"
#include "builder/trace.h"
#include "cli/build_summary.h"
#include "cli/explain.h"
#include "cli/human.h"
#include "cli/progress.h"
#include "cli/report.h"
#include "store/reference.h"

namespace img::cli {
namespace {

// What is not a regular file, /dev/stdout for example, is written to.
bool isReplaceable(const std::string& path) {
  const auto st = sys::tryFstatat(AT_FDCWD, path);
  return !st || S_ISREG(st->st_mode);
}

void writeFile(const std::string& path, const std::string& content) {
  if (isReplaceable(path)) return fs::replaceFile(AT_FDCWD, path, content, 0644, fs::Sync::none);
  writeAll(sys::openat(AT_FDCWD, path, O_WRONLY | O_CREAT, 0644).get(), content, path);
}

SummaryKind summaryKind(const std::string& word) {
  if (word.empty() || word == "auto") return SummaryKind::brief;
  if (word == "full") return SummaryKind::full;
  if (word == "off") return SummaryKind::off;
  throw Error::make(Kind::usage, "--summary {}: use auto, full or off", text::quote(word));
}

class ReportedBuild {
 public:
  ReportedBuild(Context& context, const ReportOptions& options, const builder::Request& request)
      : context_(context),
        options_(options),
        request_(request),
        summary_(summaryKind(options.summary)),
        explain_(explainMode(options.explain)),
        style_(styleFor(context, options, explain_)),
        hub_(context.store(), titleOf(request)) {
    hub_.add(makeDisplay(style_, context, hub_));
    if (!options.logFile.empty()) {
      logFile_ = sys::openat(AT_FDCWD, options.logFile, O_WRONLY | O_CREAT | O_TRUNC, 0644);
      hub_.add(makeFileDisplay(logFile_.get(), hub_));
    }
    if (!options.traceFile.empty()) hub_.setTrace(&trace_.emplace());
  }

  int run(const BuildCall& build) {
    builder::Request traced = request_;
    if (trace_) traced.trace = &*trace_;
    traced.hasExplanations = explain_ != ExplainMode::none;
    hub_.setExplain([this](const builder::StepLabel& step, const builder::Explanation& why) {
      if (explain_ != ExplainMode::json)
        return explainLines(why, explain_ == ExplainMode::all, nowSeconds());
      context_.print(explainJson(step, why) + "\n");
      return std::vector<std::string>{};
    });
    hub_.tick();
    try {
      return succeed(build(traced, hub_));
    } catch (...) {
      return fail(currentError());
    }
  }

 private:
  // Explanations stand below the header of their step, so they need a style that has headers.
  static ProgressStyle styleFor(const Context& context, const ReportOptions& options,
                                ExplainMode explain) {
    const ProgressStyle style = chooseStyle(context, options.progress, options.isQuiet);
    const bool isText = explain == ExplainMode::text || explain == ExplainMode::all;
    return isText && style == ProgressStyle::tty ? ProgressStyle::plain : style;
  }

  static std::string titleOf(const builder::Request& request) {
    return request.names.empty() ? std::string{}
                                 : store::Reference::parse(request.names.front()).familiar();
  }

  [[nodiscard]] BuildOutcome outcome(const builder::Result* result, const Error* error) const {
    const std::int64_t now = hub_.clock().monotonicMs();
    const double seconds = static_cast<double>(now - hub_.view().startMs) / 1000;
    return {hub_.view(), result, error, request_.names, request_.dockerfileName, seconds};
  }

  // Once the build has succeeded, what cannot be written is an error of its own.
  int succeed(const builder::Result& result) {
    const BuildOutcome built = outcome(&result, nullptr);
    if (!options_.idFile.empty()) writeFile(options_.idFile, result.imageId.str());
    writeRecords(built);
    hub_.succeeded(summaryText(built, summary_), record(built));
    if (options_.isQuiet && options_.showsId && !result.imageId.isZero())
      context_.print(result.imageId.str() + "\n");
    return 0;
  }

  int fail(const Error& error) {
    hub_.cancelRunning();
    const BuildOutcome failed = outcome(nullptr, &error);
    const auto report = [&] { context_.report(error); };
    hub_.broke(error, report, record(failed));
    try {
      writeRecords(failed);
    } catch (...) {
      context_.report(currentError());
    }
    return exitStatusOf(error);
  }

  // Only a build with output is recorded, so the text is not made for others.
  [[nodiscard]] std::string record(const BuildOutcome& end) const {
    if (hub_.log() == nullptr || hub_.log()->isEmpty()) return {};
    return recordJson(end, nowSeconds());
  }

  void writeRecords(const BuildOutcome& end) {
    if (!options_.metadataFile.empty())
      writeFile(options_.metadataFile, metadataJson(end, manifestSize(end.result)));
    if (trace_) {
      trace_->sample();
      writeFile(options_.traceFile, trace_->json());
    }
    writeStepSummary(end);
  }

  std::uint64_t manifestSize(const builder::Result* result) const {
    if (result == nullptr) return 0;
    const store::Layout& layout = context_.store();
    const auto st = sys::tryFstatat(layout.fd(), layout.blobPath(result->manifest));
    return st ? static_cast<std::uint64_t>(st->st_size) : 0;
  }

  // cli.md 2: the table goes to the page of the run on GitHub.
  void writeStepSummary(const BuildOutcome& end) const {
    if (style_ != ProgressStyle::gha || summary_ == SummaryKind::off) return;
    const std::string path = variableOrEmpty("GITHUB_STEP_SUMMARY");
    if (path.empty()) return;
    try {
      const Fd file = sys::openat(AT_FDCWD, path, O_WRONLY | O_APPEND);
      writeAll(file.get(), summaryMarkdown(end), path);
    } catch (const Error& error) {
      log::info("no step summary: {}", error.cause());
    }
  }

  Context& context_;
  const ReportOptions& options_;
  const builder::Request& request_;
  SummaryKind summary_;
  const ExplainMode explain_;
  ProgressStyle style_;
  Fd logFile_;
  std::optional<builder::Trace> trace_;
  ProgressHub hub_;
};

}  // namespace

void ReportOptions::addTo(Options& options) {
  options
      .text("--progress", progress, "STYLE",
            "auto, tty, plain, rawjson, gha, gitlab, quiet or none")
      .flag("-q,--quiet", isQuiet, "Print only the image id")
      .text("--summary", summary, "WHAT", "Last lines: auto, full (a table of the steps) or off")
      .optionalValue("--explain", "text", "HOW",
                     "Why each step runs: text, all (also hits) or json",
                     [this](const std::string& value) { explain = value; })
      .text("--iidfile", idFile, "FILE", "Write the image id to FILE")
      .text("--metadata-file", metadataFile, "FILE",
            "Write digests, steps or the error to FILE as JSON")
      .text("--logfile", logFile, "FILE", "Write a copy of the plain log to FILE")
      .text("--trace", traceFile, "FILE", "Write a timeline to FILE (Chrome trace events)");
}

int runReported(Context& context, const ReportOptions& options, const builder::Request& request,
                const BuildCall& build) {
  // Nobody shall take the id of an earlier build for this one's (dockerfile.md 9).
  for (const std::string& path : {options.idFile, options.metadataFile, options.traceFile}) {
    if (!path.empty() && isReplaceable(path)) sys::tryUnlinkat(AT_FDCWD, path, 0);
  }
  ReportedBuild reported{context, options, request};
  return reported.run(build);
}

}  // namespace img::cli
