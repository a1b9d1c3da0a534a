// The append-only log of a build (cli.md 9.2, "plain") and its last lines. To stderr, one write per
// event.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "builder/progress.h"
#include "builder/request.h"
#include "cli/command.h"

namespace img::cli {

class PlainProgress final : public builder::Progress {
 public:
  // Quiet: only warnings are shown.
  PlainProgress(Context& context, bool isQuiet);

  void planned(const builder::Outline& outline) override;
  void stepStarted(const builder::StepLabel& step, const builder::Miss& why) override;
  void stepCached(const builder::StepLabel& step) override;
  void stepOutput(const builder::StepLabel& step, std::string_view bytes) override;
  void stepDone(const builder::StepLabel& step) override;
  void stepFailed(const builder::StepLabel& step, std::string_view what) override;
  void layerSealed(const builder::StepLabel& step, const Digest& digest,
                   std::uint64_t bytes) override;
  void warning(const Error& warning) override;

  // "built NAME  sha256:...  84.2MB (12.3MB new)  14.1s  6 of 9 cached"
  void summary(const builder::Result& result, const builder::Request& request);

 private:
  struct Running {
    std::int64_t startedMs = 0;
    double seconds = 0;   // once done
    std::string partial;  // output after the last newline
    bool isTitled = false;
  };
  void show(std::string_view text);
  void title(const builder::StepLabel& step);
  void flushPartial(const builder::StepLabel& step, Running& running);
  [[nodiscard]] std::string timedLine(const builder::StepLabel& step, const Running& running,
                                      std::string_view line) const;

  Context& context_;
  bool isQuiet_;
  std::int64_t startMs_;
  std::map<int, Running> running_;  // by step number
};

}  // namespace img::cli
