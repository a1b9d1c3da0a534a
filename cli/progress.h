// The one builder::Progress of `img build`: keeps the view, the log in the store and, with
// --trace, the counters, and passes everything on to the displays. Also the choice of the style.
#pragma once

#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "builder/progress.h"
#include "builder/request.h"
#include "builder/trace.h"
#include "cli/command.h"
#include "cli/display.h"
#include "store/build_logs.h"

namespace img::cli {

enum class ProgressStyle { tty, plain, rawjson, gha, gitlab, quiet, none };

// --progress, else IMG_PROGRESS, else BUILDKIT_PROGRESS, else by terminal and CI service (cli.md
// 2). Without a terminal that can be drawn on, "tty" means plain. Throws Kind::usage for another
// word.
ProgressStyle chooseStyle(const Context& context, const std::string& option, bool isQuiet);

class ProgressHub final : public builder::Progress {
 public:
  // `title`: what is built, for people.
  ProgressHub(const store::Layout& layout, std::string title, Clock clock = Clock::ofSystem());

  // What a display of this hub is made with.
  DisplayHost host(std::function<void(std::string_view)> write,
                   std::function<void(const Error&)> warn, bool useColor) const;
  void add(std::unique_ptr<Display> display) { displays_.push_back(std::move(display)); }
  void setTrace(builder::Trace* trace) { trace_ = trace; }
  // Gives the notes of a step that is explained.
  using Explain = std::function<std::vector<std::string>(const builder::StepLabel&,
                                                         const builder::Explanation&)>;
  void setExplain(Explain explain) { explain_ = std::move(explain); }

  void planned(const builder::Outline& outline) override;
  void stepStarted(const builder::StepLabel& step, const builder::Miss& why) override;
  void stepCached(const builder::StepLabel& step) override;
  void stepExplained(const builder::StepLabel& step,
                     const builder::Explanation& explanation) override;
  void stepOutput(const builder::StepLabel& step, std::string_view bytes) override;
  void stepDone(const builder::StepLabel& step) override;
  void stepFailed(const builder::StepLabel& step, std::string_view what) override;
  void layerSealed(const builder::StepLabel& step, const Digest& digest,
                   std::uint64_t bytes) override;
  void suspend() override;
  void resume() override;
  void warning(const Error& warning) override;
  void notice(const std::string& text) override;
  void tick() override;
  [[nodiscard]] int tickMs() const override;

  // The end, one of the two. `record`: for builds/<id>/build.json.
  void succeeded(const std::string& summary, std::string_view record);
  void broke(const Error& error, const std::function<void()>& report, std::string_view record);
  // Steps that still run will tell no more.
  void cancelRunning();

  [[nodiscard]] const BuildView& view() const { return view_; }
  [[nodiscard]] const Clock& clock() const { return clock_; }
  [[nodiscard]] const store::BuildLog* log() const { return log_ ? &*log_ : nullptr; }

 private:
  // A build for several platforms plans once for each; its steps are numbered on.
  [[nodiscard]] int numberOf(const builder::StepLabel& step) const { return offset_ + step.number; }
  StepView& begin(const builder::StepLabel& step);
  StepView& end(const builder::StepLabel& step, StepView::State state);

  const store::Layout& layout_;
  Clock clock_;
  BuildView view_;
  int offset_ = 0;
  std::optional<store::BuildLog> log_;
  std::vector<std::unique_ptr<Display>> displays_;
  std::set<std::string> warned_;  // identical ones are shown once
  builder::Trace* trace_ = nullptr;
  Explain explain_;
};

// The display of a style; `context` gets what it writes.
std::unique_ptr<Display> makeDisplay(ProgressStyle style, Context& context, const ProgressHub& hub);
// A plain one that writes to `fd` (--logfile). A full disk costs the rest of the file, not the
// build.
std::unique_ptr<Display> makeFileDisplay(int fd, const ProgressHub& hub);

}  // namespace img::cli
