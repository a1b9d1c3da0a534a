// The options of `run` and `create` (cli.md 10.1) as one value. What has no meaning yet is refused
// by name, never dropped silently.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "cli/options.h"
#include "distribution/access.h"
#include "runtime/detach_keys.h"
#include "store/containers.h"

namespace img::cli {

struct NetworkRequest {
  bool publishAll = false, noHosts = false, noHostname = false;
  std::vector<std::string> dns, dnsSearch, dnsOptions, aliases;
  std::string address, macAddress, domainname;
};

struct NamespaceRequest {
  std::string pid, ipc, uts, user, cgroup;
  std::vector<std::string> uidMap, gidMap;
  std::optional<long long> monotonicOffset, boottimeOffset;  // seconds
};

// Durations in nanoseconds.
struct HealthRequest {
  bool isDisabled = false;
  std::optional<std::string> command;
  std::optional<long long> interval, timeout, startPeriod, startInterval, retries;
  std::string onFailure;
};

struct RunRequest {
  bool interactive = false, tty = false, detach = false, remove = false, replace = false;
  bool privileged = false, readOnly = false, init = false, quiet = false;
  bool forwardSignals = true;  // --sig-proxy
  std::string name, workdir, user, hostname, network, stopSignal, cidFile, pidFile;
  std::string pull, platform, logDriver;
  distribution::AccessOptions access;  // to the registry of the image
  std::string detachKeys = runtime::kDefaultDetachKeys;
  std::vector<std::string> volumesFrom, annotations, unsetEnv;
  bool readOnlyTmpfs = false, hostEnv = false;
  int umask = 022;
  std::optional<long long> timeout;  // nanoseconds
  std::vector<std::string> attach;   // stdin, stdout, stderr; none: all
  std::optional<std::string> entrypoint;
  std::vector<std::string> env, envFiles, labels, labelFiles, volumes, mounts, tmpfs;
  std::vector<std::string> capAdd, capDrop, securityOpt, groupAdd, addHost, publish, expose,
      ulimits, logOpt;
  std::optional<long long> stopTimeout;
  NetworkRequest networkOptions;
  NamespaceRequest namespaces;
  HealthRequest health;
  std::vector<std::string> devices, sysctls;
  std::string cgroups, cgroupParent, restart;
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
