#include "cli/build_view.h"

#include <algorithm>
#include <ctime>

#include "base/sys.h"
#include "cli/human.h"
#include "cli/report.h"

namespace img::cli {
namespace {

constexpr size_t kMaxTitle = 200;

}  // namespace

Clock Clock::ofSystem() {
  const auto wallNs = [] {
    timespec now{};
    ::clock_gettime(CLOCK_REALTIME, &now);
    return std::int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
  };
  return {[] { return sys::monotonicMs(); }, wallNs};
}

int BuildView::count(StepView::State state) const {
  return static_cast<int>(std::count_if(
      steps.begin(), steps.end(), [&](const auto& entry) { return entry.second.state == state; }));
}

double secondsOf(const StepView& step, std::int64_t nowMs) {
  return static_cast<double>((step.isOver() ? step.endMs : nowMs) - step.startMs) / 1000;
}

std::string stepText(const builder::StepLabel& step) {
  return ellipsis(printable(std::string_view{step.text}.substr(0, step.text.find('\n'))),
                  kMaxTitle);
}

std::string stepTitle(const builder::StepLabel& step) {
  return fmt::format("[{}] {} ({}:{})", printable(step.stage), stepText(step),
                     printable(step.fileName), step.line);
}

std::string outputLine(std::string_view line) {
  while (line.ends_with('\r')) line.remove_suffix(1);
  const size_t carriage = line.rfind('\r');
  if (carriage != std::string_view::npos) line.remove_prefix(carriage + 1);
  return printable(line);
}

void LineSplitter::add(std::string_view bytes, const Take& take) {
  while (!bytes.empty()) {
    const size_t end = bytes.find('\n');
    const size_t count = std::min({end, bytes.size(), kMaxLine - partial_.size()});
    partial_ += bytes.substr(0, count);
    bytes.remove_prefix(count);
    const bool isComplete = count == end;
    if (isComplete) bytes.remove_prefix(1);
    if (!isComplete && partial_.size() < kMaxLine) break;
    take(partial_);
    partial_.clear();
  }
}

void LineSplitter::finish(const Take& take) {
  if (partial_.empty()) return;
  take(partial_);
  partial_.clear();
}

}  // namespace img::cli
