// --progress=rawjson: BuildKit's status stream, one JSON object per line (client.SolveStatus of
// moby/buildkit, as `buildx build --progress=rawjson` prints it). A vertex is a step; what we add
// is under its key "img".
#pragma once

#include <map>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "cli/display.h"

namespace img::cli {

class RawJsonProgress final : public Display {
 public:
  explicit RawJsonProgress(DisplayHost host) : Display(std::move(host)) {}

  void started(const StepView& step) override;
  void cached(const StepView& step) override;
  void output(const StepView& step, std::string_view bytes, bool isKept) override;
  void done(const StepView& step) override;
  void sealed(const StepView& step) override;
  void failed(const StepView& step) override;
  void warning(const Error& warning) override;

 private:
  void vertex(const StepView& step);
  void send(const char* kind, const nlohmann::json& item);
  // The last step of each stage so far: the input of the next.
  std::map<std::string, std::string> heads_;
  std::map<int, std::string> inputs_;
};

}  // namespace img::cli
