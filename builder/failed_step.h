// What is kept of a RUN that failed: its read-write layer and its environment, as a stopped
// container named failed-BUILD-STEP, so that every command for containers works on it (cli.md 9.8).
// The newest three of a store stay, each until the same step succeeds, at most for 24 hours.
#pragma once

#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "builder/progress.h"
#include "builder/snapshot.h"
#include "store/containers.h"
#include "store/images.h"
#include "store/layout.h"

namespace img::builder {

// How a RUN was started, without what came from secrets and proxies.
struct StepCommand {
  std::vector<std::string> argv, env;
  std::string cwd, user, hostname, network;
  bool isPrivileged = false;
};

struct FailedStep {
  std::string buildId;
  StepLabel label;
  std::string origin;  // stepOrigin() of the step
  StepCommand command;
  int exitCode = 1;
  std::string error;
  LayerRef layer;     // its folder moves into the container
  store::Image base;  // what lay below, as an image
};

// --on-fail-copy: files of the failed step (wildcards as in COPY) to host paths, owned by the
// caller.
void copyFromFailedStep(const store::Layout& layout, const Snapshot& below, const LayerRef& layer,
                        const std::vector<std::pair<std::string, std::string>>& copies);

// Tells "the same step" of a later build, whatever its text is then: Dockerfile, context, stage and
// place in the stage.
std::string stepOrigin(const std::string& contextDir, const StepLabel& label);

// Keeps it, and drops those that are too many or too old. Returns the name for `img debug`.
std::string keepFailedStep(const store::Layout& layout, const FailedStep& step);
// Drops what was kept of steps that have succeeded now. Cheap when nothing is kept.
void dropFailedSteps(const store::Layout& layout, const std::set<std::string>& origins);

// The kept steps, newest first.
std::vector<store::ContainerRecord> listFailedSteps(const store::Layout& layout);
// "[build 3/4] RUN make"
const std::string& failedStepText(const store::ContainerConfig& config);
bool isFailedStep(const store::ContainerConfig& config);
// BUILD[:STEP] (a prefix of the build's id), a container's name or id, or "last". Throws
// Kind::notFound.
store::ContainerRecord findFailedStep(const store::Layout& layout, const std::string& which);

}  // namespace img::builder
