#include "cli/run_options.h"

#include <cmath>
#include <cstdlib>

#include "base/error.h"
#include "base/text.h"
#include "cli/network_options.h"
#include "cli/values.h"

namespace img::cli {
namespace {

constexpr std::int64_t kMinimumMemory = std::int64_t{6}
                                        << 20;  // docker's, below which nothing starts

Error unsupported(std::string_view what) {
  return Error::make(Kind::unsupported, "{} is not part of this version", what).exitCode(125);
}

void addProcessOptions(Options& options, RunRequest& request) {
  options.group("Process")
      .flag("-i,--interactive", request.interactive, "Keep standard input open")
      .flag("-t,--tty", request.tty, "Give the command a terminal")
      .list("-e,--env", request.env, "K[=V]", "Set a variable, or pass the caller's")
      .list("--env-file", request.envFiles, "FILE", "Read variables from a file")
      .text("-w,--workdir", request.workdir, "DIR", "Working directory, made if missing")
      .text("-u,--user", request.user, "USER[:GROUP]", "User, by name or number")
      .list("--group-add", request.groupAdd, "GROUP", "Further groups")
      .text("--entrypoint", request.entrypoint, "COMMAND", "Instead of the image's entrypoint")
      .flag("--init", request.init, "Run a small init that reaps and forwards signals")
      .text("--stop-signal", request.stopSignal, "SIGNAL", "Signal that stops the container")
      .number("--stop-timeout", request.stopTimeout, "SECONDS", "Time to stop before it is killed");
}

void addContainerOptions(Options& options, RunRequest& request) {
  options.group("Container")
      .text("--name", request.name, "NAME", "Name of the container")
      .flag("--replace", request.replace, "Remove a container that has the name")
      .flag("--rm", request.remove, "Remove the container when it ends")
      .list("-l,--label", request.labels, "K=V", "Add a label")
      .list("--label-file", request.labelFiles, "FILE", "Read labels from a file")
      .text("--cidfile", request.cidFile, "FILE", "Write the container's id to a new file")
      .text("--log-driver", request.logDriver, "file", "Where output is kept: only `file` exists")
      .list("--log-opt", request.logOpt, "K=V", "Option of the log driver")
      .text("--pidfile", request.pidFile, "FILE", "Write the process's pid to a file")
      .text("--pull", request.pull, "missing|always|never", "When to pull the image")
      .text("--platform", request.platform, "OS/ARCH", "Platform of the image")
      .flag("-q,--quiet", request.quiet, "Print no progress of a pull");
}

void addFileOptions(Options& options, RunRequest& request) {
  options.group("Files")
      .list("-v,--volume", request.volumes, "SOURCE:PATH[:OPTIONS]", "Mount a folder or volume")
      .list("--mount", request.mounts, "type=T,src=S,dst=D", "Mount, spelled out")
      .list("--tmpfs", request.tmpfs, "PATH[:OPTIONS]", "Mount an empty folder in memory")
      .flag("--read-only", request.readOnly, "Root file system read-only")
      .size("--shm-size", request.limits.shmSize, "Size of /dev/shm (64m)");
}

void addNetworkOptions(Options& options, RunRequest& request) {
  options.group("Network")
      .text("--network,--net", request.network, "MODE",
            "bridge, private, none, host, container:NAME or ns:PATH")
      .list("-p,--publish", request.publish, "[IP:][HOST:]PORT", "Publish a port")
      .flag("-P,--publish-all", request.networkOptions.publishAll, "Publish all exposed ports")
      .list("--expose", request.expose, "PORT[/PROTOCOL]", "Expose a port")
      .text("-h,--hostname", request.hostname, "NAME", "Host name (the short id)")
      .text("--domainname", request.networkOptions.domainname, "NAME", "NIS domain name")
      .list("--add-host", request.addHost, "HOST:IP", "Add a line to /etc/hosts")
      .list("--dns", request.networkOptions.dns, "IP", "Name server instead of the host's")
      .list("--dns-search", request.networkOptions.dnsSearch, "DOMAIN", "Search domain")
      .list("--dns-option,--dns-opt", request.networkOptions.dnsOptions, "OPTION",
            "Option of resolv.conf")
      .text("--ip", request.networkOptions.address, "IP", "Address on the bridge")
      .text("--mac-address", request.networkOptions.macAddress, "MAC", "Hardware address")
      .list("--network-alias", request.networkOptions.aliases, "NAME",
            "Further name for other containers")
      .flag("--no-hosts", request.networkOptions.noHosts, "Leave /etc/hosts to the image")
      .flag("--no-hostname", request.networkOptions.noHostname, "Leave /etc/hostname to the image");
}

void addNamespaceOptions(Options& options, RunRequest& request) {
  options.group("Namespaces")
      .text("--pid", request.namespaces.pid, "MODE", "private, host or container:NAME")
      .text("--ipc", request.namespaces.ipc, "MODE", "private, host or container:NAME")
      .text("--uts", request.namespaces.uts, "MODE", "private, host or container:NAME")
      .text("--userns", request.namespaces.user, "MODE", "host, auto, keep-id, nomap")
      .text("--cgroupns", request.namespaces.cgroup, "MODE", "private or host")
      .list("--uidmap", request.namespaces.uidMap, "INSIDE:OUTSIDE:COUNT", "Map of user ids")
      .list("--gidmap", request.namespaces.gidMap, "INSIDE:OUTSIDE:COUNT", "Map of group ids")
      .list("--sysctl", request.sysctls, "KEY=VALUE",
            "Kernel setting of the container's namespaces")
      .list("--device", request.devices, "SOURCE[:PATH[:rwm]]", "Give it a device of the host");
}

void addHealthOptions(Options& options, RunRequest& request) {
  HealthRequest& health = request.health;
  options.group("Health")
      .text("--health-cmd", health.command, "COMMAND", "Command that checks the health")
      .duration("--health-interval", health.interval, "Time between two checks (30s)")
      .duration("--health-timeout", health.timeout, "Time a check may take (30s)")
      .number("--health-retries", health.retries, "NUMBER", "Failures until unhealthy (3)")
      .duration("--health-start-period", health.startPeriod, "Time in which failures do not count")
      .duration("--health-start-interval", health.startInterval,
                "Time between checks in the start period (5s)")
      .text("--health-on-failure", health.onFailure, "none|kill|restart|stop",
            "What happens when it is unhealthy")
      .flag("--no-healthcheck", health.isDisabled, "Check nothing");
}

void addSecurityOptions(Options& options, RunRequest& request) {
  options.group("Security")
      .list("--cap-add", request.capAdd, "CAP", "Add a capability")
      .list("--cap-drop", request.capDrop, "CAP", "Drop a capability")
      .flag("--privileged", request.privileged, "All capabilities, devices, no filter")
      .list("--security-opt", request.securityOpt, "OPTION",
            "no-new-privileges, seccomp=unconfined, ...");
}

void addIgnored(Options& options) {
  options.ignoredFlag("--disable-content-trust")
      .ignoredValue("--link")
      .ignoredValue("--link-local-ip")
      .ignoredValue("--isolation")
      .ignoredValue("--runtime")
      .ignoredValue("--volume-driver")
      .ignoredValue("--storage-opt")
      .ignoredValue("--kernel-memory")
      .ignoredValue("--sdnotify");
}

// Emulation of other processors is the host's business; what it cannot run must not start.
void checkPlatform(const std::string& text) {
  if (text.empty()) return;
  const store::Platform wanted = parsePlatform(text);
  const store::Platform host = store::Platform::host();
  if (wanted.os == host.os && wanted.architecture == host.architecture) return;
  throw unsupported("--platform " + text::escape(text))
      .hint(fmt::format("containers run as {}/{} here", host.os, host.architecture));
}

// Each check goes when the option gets its meaning.
void refuseUnwired(const RunRequest& request) {
  const NetworkRequest& network = request.networkOptions;
  const NamespaceRequest& names = request.namespaces;
  const HealthRequest& health = request.health;
  const std::pair<bool, const char*> given[] = {
      {!network.domainname.empty(), "--domainname"},
      {!names.pid.empty(), "--pid"},
      {!names.ipc.empty(), "--ipc"},
      {!names.uts.empty(), "--uts"},
      {!names.user.empty() || !names.uidMap.empty() || !names.gidMap.empty(), "--userns"},
      {!names.cgroup.empty() && names.cgroup != "private", "--cgroupns"},
      {!request.sysctls.empty(), "--sysctl"},
      {!request.devices.empty(), "--device"},
      {!request.cgroups.empty() && request.cgroups != "auto", "--cgroups"},
      {!request.cgroupParent.empty(), "--cgroup-parent"},
      {health.command || !health.onFailure.empty(), "--health-cmd"}};
  for (const auto& [isGiven, name] : given) {
    if (isGiven) throw unsupported(name);
  }
}

void checkLog(const RunRequest& request) {
  if (!request.logDriver.empty() && request.logDriver != "file") {
    throw unsupported("--log-driver " + text::escape(request.logDriver))
        .hint("the only one is file");
  }
  if (!request.logOpt.empty())
    throw unsupported("--log-opt " + text::escape(request.logOpt.front()));
}

}  // namespace

void addLimitOptions(Options& options, store::LimitRecord& limits,
                     std::vector<std::string>& ulimits) {
  options.group("Limits")
      .size("-m,--memory", limits.memory, "Memory")
      .size("--memory-swap", limits.memorySwap, "Memory and swap together; -1: unlimited", true)
      .value("--cpus", "NUMBER", "CPUs, as 1.5",
             [&limits](const std::string& text) { limits.nanoCpus = parseCpus(text); })
      .number("-c,--cpu-shares", limits.cpuShares, "SHARES", "Relative weight")
      .number("--cpu-period", limits.cpuPeriod, "US", "Length of a period")
      .number("--cpu-quota", limits.cpuQuota, "US", "CPU time in a period")
      .text("--cpuset-cpus", limits.cpusetCpus, "LIST", "CPUs to run on")
      .number("--pids-limit", limits.pids, "NUMBER", "Processes; -1: unlimited")
      .list("--ulimit", ulimits, "NAME=SOFT[:HARD]", "Limit of the process");
}

void checkLimits(const store::LimitRecord& limits) {
  if (limits.memory && *limits.memory < kMinimumMemory) {
    throw Error::make(Kind::usage, "--memory: {} bytes is less than the minimum of 6m",
                      *limits.memory);
  }
  if (limits.memorySwap && !limits.memory) {
    throw Error{Kind::usage, "--memory-swap needs --memory"};
  }
  if (limits.memorySwap && *limits.memorySwap >= 0 && *limits.memorySwap < *limits.memory) {
    throw Error{Kind::usage,
                "--memory-swap is memory and swap together: it cannot be less than --memory"};
  }
  if (limits.nanoCpus && (limits.cpuQuota || limits.cpuPeriod)) {
    throw Error{Kind::usage, "--cpus excludes --cpu-quota and --cpu-period"};
  }
  if (limits.cpuShares && (*limits.cpuShares < 2 || *limits.cpuShares > 262144)) {
    throw Error::make(Kind::usage, "--cpu-shares: {} is not between 2 and 262144",
                      *limits.cpuShares);
  }
}

long long parseCpus(std::string_view text) {
  const std::string copy{text};
  char* end = nullptr;
  const double cpus = std::strtod(copy.c_str(), &end);
  const bool isNumber = !copy.empty() && *end == '\0' && std::isfinite(cpus);
  if (!isNumber || cpus < 0.01 || cpus > 1e6) {
    throw Error::make(Kind::usage, "--cpus: {} is not a number of CPUs", text::quote(text));
  }
  return std::llround(cpus * 1e9);
}

void addRunOptions(Options& options, RunRequest& request, bool forRun) {
  if (forRun) {
    options.group("Run")
        .flag("-d,--detach", request.detach, "Run in the background and print the id")
        .flag("--sig-proxy", request.forwardSignals, "Pass signals on to the command (true)");
  }
  addProcessOptions(options, request);
  addContainerOptions(options, request);
  addFileOptions(options, request);
  addNetworkOptions(options, request);
  addNamespaceOptions(options, request);
  addLimitOptions(options, request.limits, request.ulimits);
  options.text("--cgroups", request.cgroups, "auto|disabled|required", "Control groups")
      .text("--cgroup-parent", request.cgroupParent, "PATH", "Control group to make its own in");
  addHealthOptions(options, request);
  addSecurityOptions(options, request);
  addIgnored(options);
  options.stopAtPositional().positionals(1, kAnyNumber);
}

void checkRunRequest(const RunRequest& request) {
  checkNetworkOptions(request);
  checkPlatform(request.platform);
  checkLog(request);
  refuseUnwired(request);
  checkLimits(request.limits);
  const bool badPull =
      !request.pull.empty() && request.pull != "missing" && request.pull != "never";
  if (badPull) throw unsupported("--pull " + text::escape(request.pull));
  if (request.stopTimeout && *request.stopTimeout < -1) {
    throw Error{Kind::usage, "--stop-timeout: not a number of seconds"};
  }
}

}  // namespace img::cli
