// What is known of a build under way: one entry per step, filled by ProgressHub as the builder
// tells it, read by every display, by the summary and by the metadata file.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>

#include "base/digest.h"
#include "builder/progress.h"

namespace img::cli {

// Times are asked for here only, so that tests can give their own.
struct Clock {
  std::function<std::int64_t()> monotonicMs;
  std::function<std::int64_t()> wallNs;  // since 1970
  static Clock ofSystem();
};

struct StepView {
  enum class State { running, done, cached, failed, cancelled };
  builder::StepLabel label;
  State state = State::running;
  bool isStarted = false;  // false: found in the cache, or failed before it could start
  std::string reason;      // why it runs, for people; may be empty
  std::string error;
  std::vector<std::string> notes;               // of --explain, for the lines below the header
  std::int64_t startMs = 0, endMs = 0;          // monotonic
  std::int64_t startWallNs = 0, endWallNs = 0;  // since 1970
  std::optional<Digest> layer;                  // once sealed
  std::uint64_t bytes = 0;
  [[nodiscard]] bool isOver() const { return state != State::running; }
};

struct BuildView {
  builder::Outline outline;
  std::string title;  // "app:latest": what is built, for people; may be empty
  std::map<int, StepView> steps;
  std::int64_t startMs = 0;

  [[nodiscard]] int count(StepView::State state) const;
};

// Seconds that a step has run, until `nowMs` when it still does.
double secondsOf(const StepView& step, std::int64_t nowMs);

// The instruction on one line, every control byte escaped.
std::string stepText(const builder::StepLabel& step);
// "[build 3/4] RUN make (Dockerfile:12)"
std::string stepTitle(const builder::StepLabel& step);

// A line of output as it is shown: control bytes escaped, of a line with carriage returns the text
// after the last one.
std::string outputLine(std::string_view line);

// Output in pieces to whole lines; a line longer than kMaxLine comes in parts, because a step may
// print gigabytes without a newline.
class LineSplitter {
 public:
  static constexpr size_t kMaxLine = size_t{64} << 10;
  using Take = std::function<void(std::string_view line)>;
  void add(std::string_view bytes, const Take& take);
  // What came after the last newline.
  void finish(const Take& take);
  [[nodiscard]] const std::string& partial() const { return partial_; }

 private:
  std::string partial_;
};

}  // namespace img::cli
