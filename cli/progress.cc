#include "cli/progress.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <utility>

#include "base/environment.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/text.h"
#include "cli/columns.h"
#include "cli/progress_ci.h"
#include "cli/progress_plain.h"
#include "cli/progress_rawjson.h"
#include "cli/progress_tty.h"
#include "cli/report.h"

namespace img::cli {
namespace {

bool isCi() {
  const std::string value = text::lower(variableOrEmpty("CI"));
  return !value.empty() && value != "0" && value != "false";
}

// Whether lines may be rewritten (cli.md 2).
bool canDraw(const Context& context) {
  return context.errIsTerminal() && variableOrEmpty("TERM") != "dumb" && !isCi();
}

ProgressStyle automaticStyle(const Context& context) {
  if (variableOrEmpty("GITHUB_ACTIONS") == "true") return ProgressStyle::gha;
  if (variableOrEmpty("GITLAB_CI") == "true") return ProgressStyle::gitlab;
  for (const char* name : {"BUILDKITE", "JENKINS_URL", "TF_BUILD", "TEAMCITY_VERSION"}) {
    if (!variableOrEmpty(name).empty()) return ProgressStyle::plain;
  }
  return canDraw(context) ? ProgressStyle::tty : ProgressStyle::plain;
}

// --progress=quiet and -q: nothing but the log of the step that failed.
class QuietDisplay final : public Display {
 public:
  explicit QuietDisplay(DisplayHost host) : Display(std::move(host)) {}
  void output(const StepView& step, std::string_view bytes, bool isKept) override {
    if (!isKept) write(step, bytes);
  }
  void failed(const StepView& step) override {
    if (step.state != StepView::State::failed) return;
    constexpr size_t kPiece = size_t{64} << 10;
    const store::BuildLog* log = host().log();
    for (std::uint64_t at = 0; log != nullptr;) {
      const std::string piece = log->read(step.label.number, at, kPiece);
      if (piece.empty()) break;
      at += piece.size();
      write(step, piece);
    }
    splitters_[step.label.number].finish(
        [&](std::string_view line) { host().write(outputLine(line) + "\n"); });
  }

 private:
  void write(const StepView& step, std::string_view bytes) {
    std::string text;
    splitters_[step.label.number].add(
        bytes, [&](std::string_view line) { text += outputLine(line) + "\n"; });
    if (!text.empty()) host().write(text);
  }
  std::map<int, LineSplitter> splitters_;
};

// --logfile: has its own copy of the error.
class FileProgress final : public PlainProgress {
 public:
  FileProgress(DisplayHost host, std::function<void(const Error&)> report)
      : PlainProgress(std::move(host)), report_(std::move(report)) {}
  void broke(const Error& error, const std::function<void()>&) override {
    PlainProgress::broke(error, [&] { report_(error); });
  }

 private:
  std::function<void(const Error&)> report_;
};

class SilentDisplay final : public Display {
 public:
  explicit SilentDisplay(DisplayHost host) : Display(std::move(host)) {}
};

TtyProgress::Terminal terminalOf(const Context& context) {
  TtyProgress::Terminal terminal;
  terminal.size = [fd = context.err()] { return terminalSizeOf(fd); };
  terminal.isUtf8 = isUtf8Locale();
  const auto lines = text::parseUnsigned(variableOrEmpty("BUILDKIT_TTY_LOG_LINES"));
  if (lines && *lines <= 1000) terminal.logLines = static_cast<int>(*lines);
  return terminal;
}

}  // namespace

ProgressStyle chooseStyle(const Context& context, const std::string& option, bool isQuiet) {
  static constexpr std::array<std::pair<std::string_view, ProgressStyle>, 7> kStyles{
      {{"tty", ProgressStyle::tty},
       {"plain", ProgressStyle::plain},
       {"rawjson", ProgressStyle::rawjson},
       {"gha", ProgressStyle::gha},
       {"gitlab", ProgressStyle::gitlab},
       {"quiet", ProgressStyle::quiet},
       {"none", ProgressStyle::none}}};
  std::string origin = "--progress";
  std::string word = option;
  for (const char* name : {"IMG_PROGRESS", "BUILDKIT_PROGRESS"}) {
    if (!word.empty()) break;
    word = variableOrEmpty(name);
    origin = name;
  }
  ProgressStyle style = ProgressStyle::plain;
  if (word.empty() || word == "auto") {
    style = automaticStyle(context);
  } else {
    const auto found = std::find_if(kStyles.begin(), kStyles.end(),
                                    [&](const auto& entry) { return entry.first == word; });
    if (found == kStyles.end()) {
      throw Error::make(Kind::usage,
                        "{} {}: use auto, tty, plain, rawjson, gha, gitlab, quiet or none", origin,
                        text::quote(word));
    }
    style = found->second;
  }
  if (isQuiet) return ProgressStyle::quiet;
  if (style == ProgressStyle::tty && !canDraw(context)) return ProgressStyle::plain;
  return style;
}

ProgressHub::ProgressHub(const store::Layout& layout, std::string title, Clock clock)
    : layout_(layout), clock_(std::move(clock)) {
  view_.title = std::move(title);
  view_.startMs = clock_.monotonicMs();
}

DisplayHost ProgressHub::host(std::function<void(std::string_view)> write,
                              std::function<void(const Error&)> warn, bool useColor) const {
  return {view_, clock_, [this] { return log(); }, std::move(write), std::move(warn), useColor};
}

void ProgressHub::planned(const builder::Outline& outline) {
  const bool isFirst = !log_;
  if (isFirst) {
    view_.outline = outline;
    log_.emplace(layout_, outline.buildId);
    return;
  }
  offset_ = view_.outline.steps;
  view_.outline.steps += outline.steps;
}

StepView& ProgressHub::begin(const builder::StepLabel& step) {
  StepView& view = view_.steps[numberOf(step)];
  view.label = step;
  view.label.number = numberOf(step);
  view.startMs = view.endMs = clock_.monotonicMs();
  view.startWallNs = view.endWallNs = clock_.wallNs();
  return view;
}

StepView& ProgressHub::end(const builder::StepLabel& step, StepView::State state) {
  const bool isKnown = view_.steps.count(numberOf(step)) != 0;
  StepView& view = isKnown ? view_.steps.at(numberOf(step)) : begin(step);
  view.state = state;
  view.endMs = clock_.monotonicMs();
  view.endWallNs = clock_.wallNs();
  return view;
}

void ProgressHub::stepStarted(const builder::StepLabel& step, const builder::Miss& why) {
  StepView& view = begin(step);
  view.isStarted = true;
  view.state = StepView::State::running;  // it may have been cached in an attempt before
  view.reason = why.text.empty() ? why.reason : why.text;
  for (const auto& display : displays_) display->started(view);
}

void ProgressHub::stepCached(const builder::StepLabel& step) {
  const StepView& view = end(step, StepView::State::cached);
  for (const auto& display : displays_) display->cached(view);
}

void ProgressHub::stepExplained(const builder::StepLabel& step,
                                const builder::Explanation& explanation) {
  if (explain_) begin(step).notes = explain_(step, explanation);
}

void ProgressHub::stepOutput(const builder::StepLabel& step, std::string_view bytes) {
  const StepView& view = view_.steps.at(numberOf(step));
  const bool isKept = log_ && log_->append(view.label.number, bytes);
  for (const auto& display : displays_) display->output(view, bytes, isKept);
}

void ProgressHub::stepDone(const builder::StepLabel& step) {
  const StepView& view = end(step, StepView::State::done);
  for (const auto& display : displays_) display->done(view);
}

void ProgressHub::stepFailed(const builder::StepLabel& step, std::string_view what) {
  const bool isCancelled = what == "cancelled";
  if (isCancelled && view_.steps.count(numberOf(step)) == 0) return;  // nothing was told of it
  StepView& view = end(step, isCancelled ? StepView::State::cancelled : StepView::State::failed);
  view.error = what;
  for (const auto& display : displays_) display->failed(view);
}

void ProgressHub::layerSealed(const builder::StepLabel& step, const Digest& digest,
                              std::uint64_t bytes) {
  StepView& view = view_.steps.at(numberOf(step));
  view.layer = digest;
  view.bytes = bytes;
  for (const auto& display : displays_) display->sealed(view);
}

void ProgressHub::suspend() {
  for (const auto& display : displays_) display->suspend();
}

void ProgressHub::resume() {
  for (const auto& display : displays_) display->resume();
}

void ProgressHub::warning(const Error& warning) {
  std::string identity = warning.cause();
  if (const auto& position = warning.position())
    identity += fmt::format(" {}:{}:{}", position->file, position->line, position->column);
  if (!warned_.insert(std::move(identity)).second) return;
  for (const auto& display : displays_) display->warning(warning);
}

void ProgressHub::notice(const std::string& text) {
  for (const auto& display : displays_) display->notice(text);
}

void ProgressHub::tick() {
  for (const auto& display : displays_) display->tick();
  if (trace_ != nullptr) trace_->sample();
}

int ProgressHub::tickMs() const {
  int least = trace_ == nullptr ? -1 : trace_->msToNextSample();
  for (const auto& display : displays_) {
    const int ms = display->tickMs();
    if (ms >= 0 && (least < 0 || ms < least)) least = ms;
  }
  return least;
}

void ProgressHub::succeeded(const std::string& summary, std::string_view record) {
  for (const auto& display : displays_) display->succeeded(summary);
  if (log_) log_->finish(record);
}

void ProgressHub::broke(const Error& error, const std::function<void()>& report,
                        std::string_view record) {
  for (size_t i = 0; i < displays_.size(); ++i) {
    displays_[i]->broke(
        error, i == 0 ? report : [] {});
  }
  if (log_) log_->finish(record);
}

void ProgressHub::cancelRunning() {
  for (auto& [number, step] : view_.steps) {
    if (step.isOver()) continue;
    step.state = StepView::State::cancelled;
    step.error = "cancelled";
    step.endMs = clock_.monotonicMs();
    step.endWallNs = clock_.wallNs();
  }
}

std::unique_ptr<Display> makeDisplay(ProgressStyle style, Context& context,
                                     const ProgressHub& hub) {
  DisplayHost host = hub.host([&context](std::string_view text) { context.notice(text); },
                              [&context](const Error& warning) { context.warn(warning); },
                              context.useColor(context.err()));
  switch (style) {
    case ProgressStyle::tty:
      return std::make_unique<TtyProgress>(std::move(host), terminalOf(context));
    case ProgressStyle::plain: return std::make_unique<PlainProgress>(std::move(host));
    case ProgressStyle::rawjson: return std::make_unique<RawJsonProgress>(std::move(host));
    case ProgressStyle::gha:
      return std::make_unique<GhaProgress>(std::move(host), fs::randomHex(32));
    case ProgressStyle::gitlab: return std::make_unique<GitlabProgress>(std::move(host));
    case ProgressStyle::quiet: return std::make_unique<QuietDisplay>(std::move(host));
    case ProgressStyle::none: break;
  }
  return std::make_unique<SilentDisplay>(std::move(host));
}

std::unique_ptr<Display> makeFileDisplay(int fd, const ProgressHub& hub) {
  const auto isBroken = std::make_shared<bool>(false);
  const auto write = [fd, isBroken](std::string_view text) {
    if (*isBroken) return;
    try {
      writeAll(fd, text, "the log file");
    } catch (const Error& error) {
      *isBroken = true;
      log::warn("the log file is not complete: {}", error.cause());
    }
  };
  const auto asText = [write](const Error& error, bool isWarning) {
    ReportStyle style;
    style.isWarning = isWarning;
    write(renderReport(error, style));
  };
  return std::make_unique<FileProgress>(
      hub.host(
          write, [asText](const Error& warning) { asText(warning, true); }, false),
      [asText](const Error& error) { asText(error, false); });
}

}  // namespace img::cli
