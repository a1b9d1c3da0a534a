#include "cli/progress_ci.h"

#include <fmt/format.h>

#include "base/text.h"
#include "cli/progress_plain.h"
#include "cli/report.h"

namespace img::cli {
namespace {

// actions/runner parses "::" commands and the older "##[" ones, the latter anywhere in a line.
std::string withoutCommands(std::string text) {
  for (size_t at = 0; (at = text.find("##[", at)) != std::string::npos;) text.insert(at + 2, " ");
  return text;
}

// actions/toolkit, core/src/command.ts: escapeData and escapeProperty.
std::string escapeData(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '%': out += "%25"; break;
      case '\r': out += "%0D"; break;
      case '\n': out += "%0A"; break;
      default: out += c;
    }
  }
  return out;
}

std::string escapeProperty(std::string_view text) {
  std::string out;
  for (const char c : escapeData(text)) {
    if (c == ':') {
      out += "%3A";
    } else if (c == ',') {
      out += "%2C";
    } else {
      out += c;
    }
  }
  return out;
}

std::string annotation(std::string_view level, const Error& error) {
  std::string properties;
  const auto add = [&](std::string_view name, std::string_view value) {
    properties += properties.empty() ? " " : ",";
    properties += fmt::format("{}={}", name, escapeProperty(value));
  };
  if (const auto& position = error.position(); position && !position->file.empty()) {
    add("file", position->file);
    if (position->line > 0) add("line", std::to_string(position->line));
    if (position->endLine > 0) add("endLine", std::to_string(position->endLine));
  }
  add("title", "img build");
  std::string message = text::escape(error.cause(), error.cause().size() + 1);
  if (!error.why().empty()) message += "\nwhy: " + printable(error.why());
  for (const std::string& hint : error.hints()) message += "\nhint: " + printable(hint);
  return fmt::format("::{}{}::{}", level, properties, escapeData(withoutCommands(message)));
}

std::string endText(const StepView& step) {
  switch (step.state) {
    case StepView::State::cached: return "CACHED";
    case StepView::State::cancelled:
      return fmt::format("CANCELLED after {:.1f}s", secondsOf(step, step.endMs));
    case StepView::State::failed:
      if (!step.isStarted) return "ERROR " + shortError(step);
      return fmt::format("ERROR {} after {:.1f}s", shortError(step), secondsOf(step, step.endMs));
    case StepView::State::done: return fmt::format("DONE {:.1f}s", secondsOf(step, step.endMs));
    case StepView::State::running: break;
  }
  return "still running, see below";
}

std::string timed(std::int64_t sinceStartMs, std::string_view text) {
  return fmt::format("{}.{:03} {}", sinceStartMs / 1000, sinceStartMs % 1000, text);
}

std::string title(const StepView& step, bool isContinued) {
  return stepTitle(step.label) + (isContinued ? " (continued)" : "");
}

}  // namespace

// From here on the runner takes every line as text (until allowCommands).
void GhaProgress::stopCommands() {
  if (!isStopped_) show("::stop-commands::" + token_);
  isStopped_ = true;
}

void GhaProgress::allowCommands() {
  if (isStopped_) show("::" + token_ + "::");
  isStopped_ = false;
}

void GhaProgress::begin(const StepView& step, bool isContinued) {
  show("::group::" + escapeData(withoutCommands(title(step, isContinued))));
  if (!isContinued && !step.reason.empty() && step.notes.empty())
    show("reason: " + withoutCommands(printable(step.reason)));
  for (const std::string& note : step.notes) {
    if (!isContinued) show(withoutCommands(note));
  }
}

void GhaProgress::line(const StepView&, std::int64_t sinceStartMs, std::string_view text) {
  stopCommands();
  show(timed(sinceStartMs, text));
}

void GhaProgress::end(const StepView& step) {
  allowCommands();
  show(withoutCommands(endText(step)));
  show("::endgroup::");
}

void GhaProgress::layer(const StepView&) {}  // known too late for its group: see the summary

void GhaProgress::warning(const Error& warning) {
  const bool wasStopped = isStopped_;
  allowCommands();
  show(annotation("warning", warning));
  if (wasStopped) stopCommands();
  tick();
}

void GhaProgress::broke(const Error& error, const std::function<void()>& report) {
  StreamDisplay::broke(error, [&] {
    show(annotation("error", error));
    stopCommands();  // the report repeats the last lines of the step
    tick();
    report();
    allowCommands();
    tick();
  });
}

std::string GitlabProgress::sectionName(const StepView& step) const {
  const int part = parts_.at(step.label.number);
  return fmt::format("step_{}{}", step.label.number, part > 1 ? fmt::format("_{}", part) : "");
}

void GitlabProgress::begin(const StepView& step, bool isContinued) {
  ++parts_[step.label.number];
  show(fmt::format("\x1b[0Ksection_start:{}:{}[collapsed=true]\r\x1b[0K{}",
                   host().clock.wallNs() / 1'000'000'000, sectionName(step),
                   title(step, isContinued)));
  if (isContinued) return;
  if (!step.reason.empty() && step.notes.empty()) show("reason: " + printable(step.reason));
  for (const std::string& note : step.notes) show(note);
}

void GitlabProgress::line(const StepView&, std::int64_t sinceStartMs, std::string_view text) {
  show(timed(sinceStartMs, text));
}

void GitlabProgress::end(const StepView& step) {
  show(endText(step));
  show(fmt::format("\x1b[0Ksection_end:{}:{}\r\x1b[0K", host().clock.wallNs() / 1'000'000'000,
                   sectionName(step)));
}

void GitlabProgress::layer(const StepView&) {}  // known too late for its section: see the summary

}  // namespace img::cli
