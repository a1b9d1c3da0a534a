#include "builder/step_output.h"

namespace img::builder {
namespace {

constexpr size_t kTailLines = 20;
constexpr size_t kMaxLine = 2000;

}  // namespace

void StepOutput::pass(const std::string& bytes) {
  if (bytes.empty()) return;
  for (const char c : bytes) {
    if (c == '\n') {
      closeLine();
    } else if (line_.size() < kMaxLine) {
      line_ += c;
    }
  }
  progress_.stepOutput(label_, bytes);
}

void StepOutput::closeLine() {
  lines_.push_back(std::move(line_));
  line_.clear();
  if (lines_.size() > kTailLines) lines_.pop_front();
}

std::vector<std::string> StepOutput::lastLines() const {
  std::vector<std::string> lines{lines_.begin(), lines_.end()};
  if (!line_.empty()) lines.push_back(line_);
  if (lines.size() > kTailLines) lines.erase(lines.begin());
  return lines;
}

}  // namespace img::builder
