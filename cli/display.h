// How a build looks: one class per style of --progress (cli.md 9.2). ProgressHub keeps the view and
// calls these, in order, from one thread; steps of different stages overlap in time.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "builder/request.h"
#include "cli/build_view.h"
#include "store/build_logs.h"

namespace img::cli {

// What a display works with.
struct DisplayHost {
  const BuildView& view;
  Clock clock;
  // The output of steps so far; null until the first step starts.
  std::function<const store::BuildLog*()> log;
  std::function<void(std::string_view text)> write;  // whole lines
  std::function<void(const Error&)> warn;            // in the form of cli.md section 4
  bool useColor = false;
};

class Display {
 public:
  explicit Display(DisplayHost host) : host_(std::move(host)) {}
  Display(const Display&) = delete;
  Display& operator=(const Display&) = delete;
  virtual ~Display() = default;

  virtual void started(const StepView&) {}
  virtual void cached(const StepView&) {}
  // isKept: the log has these bytes at its end. Otherwise this is the only chance to show them.
  virtual void output(const StepView&, std::string_view /*bytes*/, bool /*isKept*/) {}
  virtual void done(const StepView&) {}
  virtual void sealed(const StepView&) {}
  virtual void failed(const StepView&) {}  // also cancelled ones; may not have been started
  virtual void warning(const Error& warning) { host_.warn(warning); }
  virtual void notice(const std::string& /*text*/) {}  // one line
  // The end, one of these. `summary`: the last lines (cli.md 9.2).
  virtual void succeeded(const std::string& /*summary*/) {}
  // Calls `report` once, which prints the error.
  virtual void broke(const Error&, const std::function<void()>& report) { report(); }
  // The terminal belongs to somebody else in between.
  virtual void suspend() {}
  virtual void resume() {}
  virtual void tick() {}
  [[nodiscard]] virtual int tickMs() const { return -1; }

 protected:
  [[nodiscard]] std::int64_t now() const { return host_.clock.monotonicMs(); }
  [[nodiscard]] const DisplayHost& host() const { return host_; }

 private:
  DisplayHost host_;
};

}  // namespace img::cli
