// What a build is asked for, and what it gives back.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/digest.h"
#include "builder/cache_place.h"
#include "builder/output.h"
#include "builder/progress.h"
#include "builder/step_options.h"
#include "builder/wasted.h"
#include "distribution/access.h"
#include "store/images.h"

namespace img::builder {

class Trace;

// --debug: where a shell is opened in a RUN. Only with a terminal.
struct DebugRequest {
  bool onFailure = false;
  int beforeLine = 0, afterLine = 0;  // of the Dockerfile; 0: nowhere
  enum class Answer { retry, keep, abort };
  std::function<Answer()> ask;                       // after a shell in a failed step
  std::function<void(const std::string&)> announce;  // tells why a shell opens
};

struct Request {
  std::string contextDir;      // host path; empty: no context (Dockerfile from stdin)
  std::string dockerfileName;  // as shown in messages
  std::string dockerfileText;
  std::string dockerfilePath;          // absolute; empty: from stdin. Tells Dockerfiles apart
  std::string ignoreName, ignoreText;  // the ignore file that applies; empty name: none
  bool isContextTemporary = false;     // it vanishes with the build: nothing remembers its files
  std::optional<std::int64_t> contextTime;  // of a context from elsewhere (dockerfile.md 7.6)
  std::vector<std::pair<std::string, std::string>> contexts;  // --build-context
  std::vector<std::string> names;                             // normalised, full form
  std::vector<std::pair<std::string, std::string>> buildArgs;
  std::string target;
  std::vector<std::pair<std::string, std::string>> labels;
  bool noCache = false;
  std::vector<std::string> noCacheStages;  // lower case
  bool keepsFailedStep = true;
  DebugRequest debug;
  // --on-fail-copy: path in the failed step, absolute path on the host.
  std::vector<std::pair<std::string, std::string>> failureCopies;
  int timeoutSeconds = 0;            // of the whole build; 0: none
  int jobs = 0;                      // steps at a time; 0: one per processor
  std::string network = "default";   // default | none | host
  std::string runRoot = "/run/img";  // where the machine's network is kept (--runroot)
  std::vector<std::pair<std::string, std::string>> addHosts;
  std::vector<std::string> allow;  // entitlements: network.host, security.insecure
  StepOptions step;                // for every RUN
  std::optional<std::int64_t> sourceDateEpoch;
  std::vector<parser::Platform> platforms;  // asked for; empty: this machine's
  OutputRequest output;
  // No file of a new layer is later.
  [[nodiscard]] std::optional<std::int64_t> layerEpoch() const {
    const bool isKept = output.layerTimes == OutputRequest::LayerTimes::keep;
    return isKept ? std::nullopt : sourceDateEpoch;
  }
  distribution::AccessOptions registry;  // how registries are reached
  std::vector<CachePlace> cacheFrom, cacheTo;
  bool hasInlineCache = false;           // records of the result's steps go into its config
  Trace* trace = nullptr;                // where spans go; null: nowhere
  std::optional<std::int64_t> cacheTtl;  // seconds; older cache records do not count
  bool isDryRun = false;                 // finds out what would run, and makes nothing
  bool hasExplanations = false;          // Progress::stepExplained is wanted
  bool hasGitPermissions = false;        // --context-perms=git
  std::function<void()> makeRoom;        // called before a step is executed; may be empty
  // Where base images come from, the same for the same name and platform during a build; none:
  // from the store. Throws code "image-not-found", whose reason tells what was tried.
  std::function<store::Image(const std::string&, const std::optional<store::Platform>&)> findImage;
  // Told before the first is asked for which there will be, so that they can be fetched side by
  // side; may be empty, and must not throw because of one that cannot be had.
  using NamedPlatform = std::pair<std::string, std::optional<store::Platform>>;
  std::function<void(const std::vector<NamedPlatform>&)> expectImages;
};

// One step of the plan after the build.
struct StepReport {
  StepLabel label;
  bool isCached = false, isFailed = false;
  std::string reason;         // of the miss
  Explanation explanation;    // of a dry run, or when explanations were asked for
  std::optional<Digest> key;  // of the step; none: it follows from what has to run first
  std::vector<int> needs;     // steps whose results it uses
  double seconds = 0;
  std::uint64_t bytes = 0;  // of its layer
};

struct Result {
  std::string buildId;
  std::vector<StepReport> reports;  // by step number
  std::vector<Waste> wasted;        // bytes that only cost room; empty: not worth a word

  Digest imageId;
  Digest manifest;             // or the index of several platforms
  std::string manifestType;    // its media type
  std::uint64_t bytes = 0;     // of all layers
  std::uint64_t newBytes = 0;  // of the layers this build made
  int steps = 0, cachedSteps = 0;
};

}  // namespace img::builder
