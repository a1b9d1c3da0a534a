#include "cli/progress_plain.h"

#include <fmt/format.h>

#include "cli/human.h"
#include "cli/report.h"

namespace img::cli {

std::string shortError(const StepView& step) {
  constexpr std::string_view kPrefix = "RUN failed with ";
  std::string_view what = step.error;
  if (what.starts_with(kPrefix)) what.remove_prefix(kPrefix.size());
  return printable(what);
}

std::string layerText(const StepView& step) {
  return fmt::format("{:.1f}s +{} sha256:{}", secondsOf(step, step.endMs), formatSize(step.bytes),
                     step.layer->shortHex());
}

void PlainProgress::begin(const StepView& step, bool isContinued) {
  if (isContinued) return;
  show(fmt::format("#{} {}", step.label.number, stepTitle(step.label)));
  for (const std::string& note : step.notes) show(note);
  if (!step.reason.empty() && step.notes.empty())
    show(fmt::format("#{} reason: {}", step.label.number, printable(step.reason)));
}

void PlainProgress::line(const StepView& step, std::int64_t sinceStartMs, std::string_view text) {
  show(fmt::format("#{} {}.{:03} {}", step.label.number, sinceStartMs / 1000, sinceStartMs % 1000,
                   text));
}

void PlainProgress::end(const StepView& step) {
  const int number = step.label.number;
  switch (step.state) {
    case StepView::State::cached: return show(fmt::format("#{} CACHED", number));
    case StepView::State::cancelled:
      return show(fmt::format("#{} CANCELLED after {:.1f}s", number, secondsOf(step, step.endMs)));
    case StepView::State::failed:
      if (!step.isStarted) return show(fmt::format("#{} ERROR {}", number, shortError(step)));
      return show(fmt::format("#{} ERROR {} after {:.1f}s", number, shortError(step),
                              secondsOf(step, step.endMs)));
    case StepView::State::running:
    case StepView::State::done: return;  // layer() ends it
  }
}

void PlainProgress::layer(const StepView& step) {
  show(fmt::format("#{} DONE {}", step.label.number, layerText(step)));
}

}  // namespace img::cli
