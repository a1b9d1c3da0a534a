// The styles of two CI services (cli.md 2, "CI detection"). Their log viewers fold groups that open
// and close in order, which is what a stream with one holder gives.
#pragma once

#include "cli/progress_stream.h"

namespace img::cli {

// GitHub Actions: groups, and annotations of errors and warnings
// (docs.github.com, "Workflow commands for GitHub Actions").
class GhaProgress final : public StreamDisplay {
 public:
  // `token`: what nobody can guess; it ends the part in which the runner obeys no commands.
  GhaProgress(DisplayHost host, std::string token)
      : StreamDisplay(std::move(host)), token_(std::move(token)) {}
  void warning(const Error& warning) override;
  void broke(const Error& error, const std::function<void()>& report) override;

 private:
  void begin(const StepView& step, bool isContinued) override;
  void line(const StepView& step, std::int64_t sinceStartMs, std::string_view text) override;
  void end(const StepView& step) override;
  void layer(const StepView& step) override;
  void stopCommands();
  void allowCommands();

  std::string token_;
  bool isStopped_ = false;
};

// GitLab CI: collapsed sections (docs.gitlab.com, "Custom collapsible sections").
class GitlabProgress final : public StreamDisplay {
 public:
  explicit GitlabProgress(DisplayHost host) : StreamDisplay(std::move(host)) {}

 private:
  void begin(const StepView& step, bool isContinued) override;
  void line(const StepView& step, std::int64_t sinceStartMs, std::string_view text) override;
  void end(const StepView& step) override;
  void layer(const StepView& step) override;
  [[nodiscard]] std::string sectionName(const StepView& step) const;

  std::map<int, int> parts_;  // a section's name serves once
};

}  // namespace img::cli
