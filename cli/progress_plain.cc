#include "cli/progress_plain.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/sys.h"
#include "base/text.h"
#include "cli/human.h"
#include "cli/report.h"

namespace img::cli {
namespace {

// A line longer than this is shown in pieces: a step may print gigabytes without a newline.
constexpr size_t kMaxLine = size_t{64} << 10;

double secondsSince(std::int64_t startMs) {
  return static_cast<double>(sys::monotonicMs() - startMs) / 1000;
}

// Output is shown as it is but for bytes that would steer the terminal; of a line with carriage
// returns only the text after the last one counts.
std::string shownLine(std::string_view line) {
  while (line.ends_with('\r')) line.remove_suffix(1);
  const size_t carriage = line.rfind('\r');
  if (carriage != std::string_view::npos) line.remove_prefix(carriage + 1);
  return printable(line);
}

}  // namespace

PlainProgress::PlainProgress(Context& context, bool isQuiet)
    : context_(context), isQuiet_(isQuiet), startMs_(sys::monotonicMs()) {}

void PlainProgress::show(std::string_view text) {
  if (!isQuiet_) context_.notice(std::string{text} + '\n');
}

void PlainProgress::title(const builder::StepLabel& step) {
  std::string text = step.text.substr(0, step.text.find('\n'));
  show(fmt::format("#{} [{}] {} ({}:{})", step.number, step.stage, ellipsis(printable(text), 200),
                   step.fileName, step.line));
}

void PlainProgress::planned(const builder::Outline&) {}

void PlainProgress::stepStarted(const builder::StepLabel& step, const builder::Miss&) {
  Running& running = running_[step.number];
  running.startedMs = sys::monotonicMs();
  running.isTitled = true;
  title(step);
}

void PlainProgress::stepCached(const builder::StepLabel& step) {
  title(step);
  show(fmt::format("#{} CACHED", step.number));
}

std::string PlainProgress::timedLine(const builder::StepLabel& step, const Running& running,
                                     std::string_view line) const {
  return fmt::format("#{} {:.3f} {}", step.number, secondsSince(running.startedMs),
                     shownLine(line));
}

void PlainProgress::stepOutput(const builder::StepLabel& step, std::string_view bytes) {
  if (isQuiet_) return;
  Running& running = running_[step.number];
  std::string text;
  while (!bytes.empty()) {
    const size_t end = bytes.find('\n');
    const size_t count = std::min({end, bytes.size(), kMaxLine - running.partial.size()});
    running.partial += bytes.substr(0, count);
    bytes.remove_prefix(count);
    const bool isComplete = count == end;
    if (isComplete) bytes.remove_prefix(1);
    if (!isComplete && running.partial.size() < kMaxLine) break;
    if (!text.empty()) text += '\n';
    text += timedLine(step, running, running.partial);
    running.partial.clear();
  }
  if (!text.empty()) show(text);
}

void PlainProgress::flushPartial(const builder::StepLabel& step, Running& running) {
  if (running.partial.empty()) return;
  show(timedLine(step, running, running.partial));
  running.partial.clear();
}

void PlainProgress::stepDone(const builder::StepLabel& step) {
  Running& running = running_[step.number];
  flushPartial(step, running);
  running.seconds = secondsSince(running.startedMs);
}

void PlainProgress::layerSealed(const builder::StepLabel& step, const Digest& digest,
                                std::uint64_t bytes) {
  show(fmt::format("#{} DONE {:.1f}s +{} sha256:{}", step.number, running_[step.number].seconds,
                   formatSize(bytes), digest.shortHex()));
}

void PlainProgress::stepFailed(const builder::StepLabel& step, std::string_view what) {
  const auto found = running_.find(step.number);
  if (found == running_.end() || !found->second.isTitled) {
    title(step);
    show(fmt::format("#{} ERROR {}", step.number, printable(what)));
    return;
  }
  flushPartial(step, found->second);
  show(fmt::format("#{} ERROR {} after {:.1f}s", step.number, printable(what),
                   secondsSince(found->second.startedMs)));
}

void PlainProgress::warning(const Error& warning) {
  context_.warn(warning);
}

void PlainProgress::summary(const builder::Result& result, const builder::Request& request) {
  std::string names = text::join(request.names, ", ");
  if (!names.empty()) names += "  ";
  show(fmt::format("built {}sha256:{}  {} ({} new)  {:.1f}s  {} of {} cached", names,
                   result.imageId.shortHex(), formatSize(result.bytes), formatSize(result.newBytes),
                   secondsSince(startMs_), result.cachedSteps, result.steps));
}

}  // namespace img::cli
