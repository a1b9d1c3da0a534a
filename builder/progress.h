// What a build tells while it works. The build calls these in order from one thread; how it looks
// is cli/progress.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/digest.h"
#include "base/error.h"
#include "builder/miss.h"

namespace img::builder {

struct StepLabel {
  int number = 0;         // 1-based, in plan order over all stages, gap-free
  std::string stage;      // "build 3/4" or "3/4"
  std::string stageName;  // "build" or "stage-1"
  std::string text;       // the instruction, variables expanded for display, one line
  std::string fileName;
  int line = 0;
};

// What is known before the first step.
struct Outline {
  std::string buildId;
  int steps = 0;
  std::vector<std::pair<std::string, int>> skippedStages;  // label and line: not needed
};

// Calls come from one thread. Steps of different stages overlap in time: between stepStarted and
// stepDone or stepFailed of one step there may be calls for others.
class Progress {
 public:
  Progress() = default;
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  virtual ~Progress() = default;

  virtual void planned(const Outline& outline) = 0;
  virtual void stepStarted(const StepLabel& step, const Miss& why) = 0;
  virtual void stepCached(const StepLabel& step) = 0;
  // Comes right before stepStarted or stepCached when the request asks for explanations.
  virtual void stepExplained(const StepLabel&, const Explanation&) {}
  // Bytes that a RUN step wrote.
  virtual void stepOutput(const StepLabel& step, std::string_view bytes) = 0;
  virtual void stepDone(const StepLabel& step) = 0;
  virtual void stepFailed(const StepLabel& step, std::string_view what) = 0;
  // A layer of an earlier step has got its digest.
  virtual void layerSealed(const StepLabel& step, const Digest& digest, std::uint64_t bytes) = 0;
  // The terminal belongs to a shell in between (--debug).
  virtual void suspend() {}
  virtual void resume() {}
  virtual void warning(const Error& warning) = 0;
  // Something of the build that is no step: a cache is imported, an image pulled. One line.
  virtual void notice(const std::string& /*text*/) {}

  // There is no timer thread: whoever waits calls tick() at least every tickMs() milliseconds, so
  // that a display can move on its own. tickMs() may differ from call to call; -1: no need.
  virtual void tick() {}
  [[nodiscard]] virtual int tickMs() const { return -1; }
};

}  // namespace img::builder
