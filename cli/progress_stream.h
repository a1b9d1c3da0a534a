// What the append-only styles have in common (cli.md 9.2, "plain"): one step holds the stream. What
// other steps write waits in their log in the store, not in memory, and is shown when they get the
// stream: when the holder has ended, when it has been silent for five seconds, or when they fail.
// Lines keep the time at which they came.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "cli/display.h"

namespace img::cli {

class StreamDisplay : public Display {
 public:
  explicit StreamDisplay(DisplayHost host) : Display(std::move(host)) {}

  void started(const StepView& step) override;
  void cached(const StepView& step) override;
  void output(const StepView& step, std::string_view bytes, bool isKept) override;
  void done(const StepView& step) override;
  void sealed(const StepView& step) override;
  void failed(const StepView& step) override;
  void warning(const Error& warning) override;
  void notice(const std::string& text) override;
  void succeeded(const std::string& summary) override;
  void broke(const Error& error, const std::function<void()>& report) override;
  void suspend() override;
  void tick() override;
  [[nodiscard]] int tickMs() const override;

 protected:
  // The styles fill these; each appends whole lines with show().
  // A step gets the stream, for the first time or again.
  virtual void begin(const StepView& step, bool isContinued) = 0;
  virtual void line(const StepView& step, std::int64_t sinceStartMs, std::string_view text) = 0;
  // It loses the stream: it still runs (but not for us), or it is over.
  virtual void end(const StepView& step) = 0;
  virtual void layer(const StepView& step) = 0;  // its layer is known; not before end()

  void show(std::string_view lineOfText);

 private:
  // From this offset of the log on, output came at this time.
  struct Mark {
    std::uint64_t offset;
    std::int64_t ms;
  };
  struct Lane {
    bool isBegun = false, isEnded = false, isSealed = false;
    std::uint64_t shown = 0, received = 0;  // bytes
    std::vector<Mark> marks;                // of what waits
    LineSplitter splitter;
  };
  Lane& lane(const StepView& step);
  [[nodiscard]] const StepView& view(int number) const { return host().view.steps.at(number); }
  [[nodiscard]] bool hasNews(int number) const;
  void offer(const StepView& step);
  void take(int number);
  void release();
  void yield();
  void advance();
  void showBacklog(const StepView& step, Lane& lane);
  void showBytes(const StepView& step, Lane& lane, std::string_view bytes, std::int64_t ms);
  void flush();

  std::map<int, Lane> lanes_;
  std::optional<int> holder_;
  std::int64_t lastShownMs_ = 0;
  std::vector<int> waiting_;  // in the order in which they came
  std::string text_;          // one write per event
};

}  // namespace img::cli
