// --progress=plain: "#N ..." lines for files and pipes (cli.md 9.2).
#pragma once

#include "cli/progress_stream.h"

namespace img::cli {

class PlainProgress : public StreamDisplay {
 public:
  explicit PlainProgress(DisplayHost host) : StreamDisplay(std::move(host)) {}

 private:
  void begin(const StepView& step, bool isContinued) override;
  void line(const StepView& step, std::int64_t sinceStartMs, std::string_view text) override;
  void end(const StepView& step) override;
  void layer(const StepView& step) override;
};

// "exit code 2" of "RUN failed with exit code 2": what happened, for a line that names the step.
std::string shortError(const StepView& step);
// "4.1s +12.1MB sha256:8d0c0a1b2c3d"
std::string layerText(const StepView& step);

}  // namespace img::cli
