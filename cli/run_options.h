// The options of `run` and `create` (cli.md 10.1) as one value. What has no meaning yet is refused
// by name, never dropped silently.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "cli/options.h"
#include "store/containers.h"

namespace img::cli {

struct RunRequest {
  bool interactive = false, tty = false, detach = false, remove = false, replace = false;
  bool privileged = false, readOnly = false, init = false, quiet = false;
  bool forwardSignals = true;  // --sig-proxy
  std::string name, workdir, user, hostname, network, stopSignal, cidFile, pidFile;
  std::string pull, platform, logDriver;
  std::optional<std::string> entrypoint;
  std::vector<std::string> env, envFiles, labels, labelFiles, volumes, mounts, tmpfs;
  std::vector<std::string> capAdd, capDrop, securityOpt, groupAdd, addHost, publish, expose,
      ulimits, logOpt;
  std::optional<long long> stopTimeout;
  store::LimitRecord limits;
  std::vector<std::string> words;  // IMAGE [COMMAND [ARG...]]
};

// Adds the options to the table; `request` outlives parse(). `forRun` adds those that only `run`
// has.
void addRunOptions(Options& options, RunRequest& request, bool forRun);
// Combinations and values that no single option can judge. Throws Kind::usage or Kind::unsupported.
void checkRunRequest(const RunRequest& request);

// The group "Limits" alone, and what is wrong with values of it.
void addLimitOptions(Options& options, store::LimitRecord& limits,
                     std::vector<std::string>& ulimits);
void checkLimits(const store::LimitRecord& limits);

// "1.5" of --cpus, in billionths.
long long parseCpus(std::string_view text);

}  // namespace img::cli
