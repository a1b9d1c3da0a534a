// What the builder's tests share: files from text, and builds in a store of their own.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "base/fs.h"
#include "base/sys.h"
#include "builder/build.h"
#include "builder/progress.h"
#include "store/images.h"
#include "store/layout.h"

namespace img::builder {

inline void writeFile(int dir, const std::string& path, std::string_view content,
                      mode_t mode = 0644) {
  const size_t slash = path.rfind('/');
  if (slash != std::string::npos) std::ignore = fs::makeDirs(dir, path.substr(0, slash));
  const Fd file = sys::openat(dir, path, O_WRONLY | O_CREAT | O_TRUNC, mode);
  writeAll(file.get(), content, path);
  sys::fchmod(file.get(), mode);
}

// Remembers what a build told.
class RecordingProgress final : public Progress {
 public:
  void planned(const Outline& value) override { outline = value; }
  void stepStarted(const StepLabel& step, const Miss& why) override {
    started.push_back(step.text);
    log.push_back("start " + step.text);
    misses.push_back(why);
    if (onStart) onStart();
  }
  void stepCached(const StepLabel& step) override { cached.push_back(step.text); }
  void stepOutput(const StepLabel&, std::string_view bytes) override {
    output += bytes;
    if (forward >= 0) writeAll(forward, bytes, "forwarded output");
  }
  void stepDone(const StepLabel& step) override { log.push_back("done " + step.text); }
  void stepFailed(const StepLabel& step, std::string_view what) override {
    if (what != "cancelled") failed = what;
    log.push_back(fmt::format("failed {}: {}", step.text, what));
  }
  void layerSealed(const StepLabel&, const Digest&, std::uint64_t) override {}
  void warning(const Error& warning) override { warnings.push_back(warning.cause()); }

  std::vector<std::string> started, cached, warnings;
  std::vector<std::string> log;  // starts and ends, in order
  Outline outline;
  std::vector<Miss> misses;  // of the steps in `started`
  std::string output, failed;
  int forward = -1;  // a descriptor that gets the output as well
  std::function<void()> onStart;
};

// A store, a context and a progress; busybox is the only program (package busybox-static).
class BuildFixture {
 public:
  BuildFixture() : layout(store::Layout::open(temp.path() + "/store")) {
    sys::mkdirat(temp.fd(), "context", 0755);
    context = sys::openDirectory(temp.fd(), "context");
    request.contextDir = temp.path() + "/context";
    request.dockerfileName = "Dockerfile";
    request.names = {"docker.io/library/test:latest"};
    request.network = "none";  // few tests are about networks, and none is quickest
  }

  store::Image build(const std::string& dockerfile) {
    progress.started.clear();
    progress.cached.clear();
    request.dockerfileText = dockerfile;
    result = builder::build(request, layout, progress);
    return store::Images{layout}.get("test");
  }

  // The error of a build that must fail.
  Error failure(const std::string& dockerfile) {
    try {
      build(dockerfile);
    } catch (const Error& error) {
      return error;
    }
    return Error{Kind::internal, "the build did not fail"};
  }

  fs::TempDir temp;
  store::Layout layout;
  Fd context;
  Request request;
  Result result;
  RecordingProgress progress;
};

inline const std::string kWithShell =
    "FROM scratch\nCOPY busybox /bin/busybox\nRUN [\"/bin/busybox\", \"--install\", \"-s\", "
    "\"/bin\"]\n";

}  // namespace img::builder
