// The output of a RUN on its way to the progress: secrets masked, the last lines kept for the
// error.
#pragma once

#include <deque>
#include <string>
#include <string_view>
#include <vector>

#include "builder/progress.h"
#include "builder/secret_guard.h"

namespace img::builder {

class StepOutput {
 public:
  StepOutput(Progress& progress, const StepLabel& label, const std::vector<Secret>& secrets)
      : progress_(progress), label_(label), mask_(secrets) {}

  void add(std::string_view bytes) { pass(mask_.add(bytes)); }
  // The step has ended: what was held back goes out.
  void finish() { pass(mask_.finish()); }
  // The last lines, with an unfinished one.
  [[nodiscard]] std::vector<std::string> lastLines() const;

 private:
  void pass(const std::string& bytes);
  void closeLine();

  Progress& progress_;
  const StepLabel& label_;
  SecretMask mask_;
  std::deque<std::string> lines_;
  std::string line_;
};

}  // namespace img::builder
