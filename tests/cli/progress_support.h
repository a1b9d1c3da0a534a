// Builds that are played to a display: scripted events, a clock that only moves when told, the
// output as text.
#pragma once

#include <string>

#include "base/fs.h"
#include "cli/progress.h"

namespace img::cli {

class PlayedBuild {
 public:
  PlayedBuild() {
    outline.buildId = "8f3a2c";
    outline.steps = 4;
  }

  // Before anything else. `make` gets a host whose text lands in `text`.
  template <class Make>
  void show(const Make& make) {
    hub.add(make(hub.host(
        [this](std::string_view bytes) { text += bytes; },
        [this](const Error& error) { text += "warning: " + error.cause() + "\n"; }, useColor)));
    hub.planned(outline);
  }

  static builder::StepLabel step(int number) {
    builder::StepLabel label;
    label.number = number;
    label.fileName = "Dockerfile";
    label.line = 10 + number;
    switch (number) {
      case 1:
        label.stage = "base 1/1";
        label.stageName = "base";
        label.text = "FROM debian:12";
        break;
      case 2:
        label.stage = "build 1/2";
        label.stageName = "build";
        label.text = "RUN make -j2";
        break;
      case 3:
        label.stage = "docs 1/1";
        label.stageName = "docs";
        label.text = "RUN mkdocs build";
        break;
      default:
        label.stage = "build 2/2";
        label.stageName = "build";
        label.text = "COPY . /src";
        break;
    }
    return label;
  }

  void pass(std::int64_t ms) { now += ms; }
  void start(int number, const std::string& reason = "") {
    builder::Miss miss;
    miss.text = reason;
    hub.stepStarted(step(number), miss);
  }
  void cached(int number) { hub.stepCached(step(number)); }
  void output(int number, std::string_view bytes) { hub.stepOutput(step(number), bytes); }
  void done(int number) { hub.stepDone(step(number)); }
  void sealed(int number, std::uint64_t bytes) {
    hub.layerSealed(step(number), Digest::of("layer"), bytes);
  }
  void fail(int number, const std::string& what) { hub.stepFailed(step(number), what); }
  void succeed() { hub.succeeded("built app\n", "{}"); }
  void breakDown(const Error& error) {
    hub.cancelRunning();
    hub.broke(
        error, [this] { text += "error: report\n"; }, "{}");
  }
  // What came since the last call.
  std::string taken() { return std::exchange(text, {}); }

  fs::TempDir temp;
  store::Layout layout = store::Layout::open(temp.path() + "/store");
  std::int64_t now = 1'000'000;  // ms
  bool useColor = false;
  builder::Outline outline;
  std::string text;
  ProgressHub hub{
      layout,
      "app:latest",
      {[this] { return now; }, [this] { return (1'700'000'000'000 + now) * 1'000'000; }}};
};

}  // namespace img::cli
