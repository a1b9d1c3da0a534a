#include "cli/run_options.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "base/error.h"
#include "base/text.h"
#include "cli/health_options.h"
#include "cli/namespace_options.h"
#include "cli/network_options.h"
#include "cli/port_options.h"
#include "cli/pull.h"
#include "cli/registry_options.h"
#include "cli/values.h"
#include "runtime/cgroups.h"

namespace img::cli {
namespace {

constexpr std::int64_t kMinimumMemory = std::int64_t{6}
                                        << 20;  // docker's, below which nothing starts

int parseUmask(const std::string& text) {
  const bool isOctal =
      !text.empty() && text.size() <= 4 && text.find_first_not_of("01234567") == std::string::npos;
  const int umask = isOctal ? static_cast<int>(std::strtol(text.c_str(), nullptr, 8)) : -1;
  if (umask >= 0 && umask <= 0777) return umask;
  throw Error::make(Kind::usage, "--umask: {} is not an octal mode such as 0022",
                    text::quote(text));
}

Error unsupported(std::string_view what) {
  return Error::make(Kind::unsupported, "{} is not part of this version", what).exitCode(125);
}

void addProcessOptions(Options& options, RunRequest& request) {
  options.group("Process")
      .flag("-i,--interactive", request.interactive, "Keep standard input open")
      .flag("-t,--tty", request.tty, "Give the command a terminal")
      .list("-e,--env", request.env, "K[=V]", "Set a variable, or pass the caller's")
      .list("--unsetenv", request.unsetEnv, "K", "Leave a variable of the image out")
      .flag("--env-host", request.hostEnv, "Pass all variables of the caller")
      .list("--env-file", request.envFiles, "FILE", "Read variables from a file")
      .text("-w,--workdir", request.workdir, "DIR", "Working directory, made if missing")
      .text("-u,--user", request.user, "USER[:GROUP]", "User, by name or number")
      .list("--group-add", request.groupAdd, "GROUP", "Further groups")
      .text("--entrypoint", request.entrypoint, "COMMAND", "Instead of the image's entrypoint")
      .flag("--init", request.init, "Run a small init that reaps and forwards signals")
      .text("--stop-signal", request.stopSignal, "SIGNAL", "Signal that stops the container")
      .number("--stop-timeout", request.stopTimeout, "SECONDS", "Time to stop before it is killed")
      .value("--umask", "MODE", "Mode bits that new files do not get (0022)",
             [&request](const std::string& text) { request.umask = parseUmask(text); });
}

void addContainerOptions(Options& options, RunRequest& request) {
  options.group("Container")
      .text("--name", request.name, "NAME", "Name of the container")
      .flag("--replace", request.replace, "Remove a container that has the name")
      .flag("--rm", request.remove, "Remove the container when it ends")
      .list("-l,--label", request.labels, "K=V", "Add a label")
      .list("--annotation", request.annotations, "K=V", "Add an annotation")
      .list("--label-file", request.labelFiles, "FILE", "Read labels from a file")
      .text("--cidfile", request.cidFile, "FILE", "Write the container's id to a new file")
      .text("--log-driver", request.logDriver, "DRIVER",
            "Where output is kept: file, none or passthrough")
      .list("--log-opt", request.logOpt, "K=V", "max-size=64m, max-file=2")
      .duration("--timeout", request.timeout, "Stop it after this time; the exit code is 124")
      .text("--pidfile", request.pidFile, "FILE", "Write the process's pid to a file")
      .text("--pull", request.pull, "missing|always|newer|never", "When to pull the image")
      .text("--platform", request.platform, "OS/ARCH", "Platform of the image")
      .flag("-q,--quiet", request.quiet, "Print no progress of a pull");
}

void addFileOptions(Options& options, RunRequest& request) {
  options.group("Files")
      .list("-v,--volume", request.volumes, "SOURCE:PATH[:OPTIONS]", "Mount a folder or volume")
      .list("--mount", request.mounts, "type=T,src=S,dst=D", "Mount, spelled out")
      .list("--tmpfs", request.tmpfs, "PATH[:OPTIONS]", "Mount an empty folder in memory")
      .list("--volumes-from", request.volumesFrom, "CONTAINER[:ro]", "Mount what another has")
      .flag("--read-only", request.readOnly, "Root file system read-only")
      .flag("--read-only-tmpfs", request.readOnlyTmpfs, "With --read-only: /run and /tmp in memory")
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
      .text("--ipc", request.namespaces.ipc, "MODE",
            "shareable, private, none, host or container:NAME")
      .text("--uts", request.namespaces.uts, "MODE", "private, host or container:NAME")
      .text("--userns", request.namespaces.user, "MODE",
            "host, auto[:size=N], keep-id[:uid=N,gid=N], nomap or container:NAME")
      .text("--cgroupns", request.namespaces.cgroup, "MODE", "private or host")
      .list("--uidmap", request.namespaces.uidMap, "INSIDE:OUTSIDE:COUNT", "Map of user ids")
      .list("--gidmap", request.namespaces.gidMap, "INSIDE:OUTSIDE:COUNT", "Map of group ids")
      .number("--monotonic", request.namespaces.monotonicOffset, "SECONDS",
              "Time namespace whose monotonic clock is that much ahead")
      .number("--boottime", request.namespaces.boottimeOffset, "SECONDS",
              "Time namespace whose boot was that much earlier")
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

void checkLog(const RunRequest& request) {
  // What docker and podman call the driver that writes files.
  static constexpr std::string_view kDrivers[] = {"",          "file",     "none", "passthrough",
                                                  "json-file", "k8s-file", "local"};
  const bool isKnown =
      std::find(std::begin(kDrivers), std::end(kDrivers), request.logDriver) != std::end(kDrivers);
  if (!isKnown) {
    throw unsupported("--log-driver " + text::escape(request.logDriver))
        .hint("use file, none or passthrough");
  }
  if (request.logDriver == "passthrough" && request.tty) {
    throw Error{Kind::usage, "--log-driver passthrough does not go with --tty"};
  }
}

}  // namespace

void addLimitOptions(Options& options, store::LimitRecord& limits,
                     std::vector<std::string>& ulimits) {
  options.group("Limits")
      .size("-m,--memory", limits.memory, "Memory")
      .size("--memory-swap", limits.memorySwap, "Memory and swap together; -1: unlimited", true)
      .size("--memory-reservation", limits.memoryReservation, "Memory to keep when it gets scarce")
      .value("--cpus", "NUMBER", "CPUs, as 1.5",
             [&limits](const std::string& text) { limits.nanoCpus = parseCpus(text); })
      .number("-c,--cpu-shares", limits.cpuShares, "SHARES", "Relative weight")
      .number("--cpu-period", limits.cpuPeriod, "US", "Length of a period")
      .number("--cpu-quota", limits.cpuQuota, "US", "CPU time in a period")
      .text("--cpuset-cpus", limits.cpusetCpus, "LIST", "CPUs to run on")
      .text("--cpuset-mems", limits.cpusetMems, "LIST", "Memory nodes to take memory from")
      .number("--blkio-weight", limits.blkioWeight, "WEIGHT", "Relative weight of block I/O")
      .number("--oom-score-adj", limits.oomScoreAdj, "NUMBER",
              "How soon it is killed when memory is out, -1000 to 1000")
      .number("--pids-limit", limits.pids, "NUMBER", "Processes; -1: unlimited")
      .list("--ulimit", ulimits, "NAME=SOFT[:HARD]", "Limit of the process");
}

namespace {

// "0-3,5", as the cpuset controller reads it.
void checkCpuList(const std::string& list, const char* option) {
  if (list.find_first_not_of("0123456789,-") == std::string::npos) return;
  throw Error::make(Kind::usage, "{}: {} is not a list such as 0-2,5", option, text::quote(list));
}

void checkReservation(const store::LimitRecord& limits) {
  if (!limits.memoryReservation || !limits.memory) return;
  if (*limits.memoryReservation <= *limits.memory) return;
  throw Error{Kind::usage, "--memory-reservation is more than --memory"};
}

void checkCgroups(const RunRequest& request) {
  const std::string& mode = request.cgroups;
  if (!mode.empty() && mode != "auto" && mode != "disabled" && mode != "required") {
    throw Error::make(Kind::usage, "--cgroups: unknown mode {}", text::quote(mode))
        .hint("auto, disabled or required");
  }
  if (!request.cgroupParent.empty()) runtime::checkCgroupParent(request.cgroupParent);
}

}  // namespace

void checkLimits(const store::LimitRecord& limits) {
  checkCpuList(limits.cpusetCpus, "--cpuset-cpus");
  checkCpuList(limits.cpusetMems, "--cpuset-mems");
  checkReservation(limits);
  if (limits.blkioWeight && (*limits.blkioWeight < 10 || *limits.blkioWeight > 1000)) {
    throw Error::make(Kind::usage, "--blkio-weight: {} is not between 10 and 1000",
                      *limits.blkioWeight);
  }
  if (limits.oomScoreAdj && (*limits.oomScoreAdj < -1000 || *limits.oomScoreAdj > 1000)) {
    throw Error::make(Kind::usage, "--oom-score-adj: {} is not between -1000 and 1000",
                      *limits.oomScoreAdj);
  }
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
        .list("-a,--attach", request.attach, "STREAM", "Attach only to stdin, stdout or stderr")
        .text("--detach-keys", request.detachKeys, "KEYS", "Keys that leave it (ctrl-p,ctrl-q)")
        .flag("--sig-proxy", request.forwardSignals, "Pass signals on to the command (true)");
  }
  addProcessOptions(options, request);
  addContainerOptions(options, request);
  addFileOptions(options, request);
  addNetworkOptions(options, request);
  addNamespaceOptions(options, request);
  addLimitOptions(options, request.limits, request.ulimits);
  options.text("--cgroups", request.cgroups, "auto|disabled|required", "Control groups")
      .text("--cgroup-parent", request.cgroupParent, "PATH", "Control group to make its own in")
      .text("--restart", request.restart, "no|on-failure[:N]|always|unless-stopped",
            "Start it again when it ends");
  addHealthOptions(options, request);
  addSecurityOptions(options, request);
  addRegistryOptions(options, request.access);
  addIgnored(options);
  options.stopAtPositional().positionals(1, kAnyNumber);
}

namespace {

void checkAttach(const RunRequest& request) {
  std::ignore = runtime::DetachKeys{request.detachKeys};
  for (const std::string& stream : request.attach) {
    if (stream == "stdin" || stream == "stdout" || stream == "stderr") continue;
    throw Error::make(Kind::usage, "--attach: {} is not stdin, stdout or stderr",
                      text::quote(stream));
  }
  if (request.detach && !request.attach.empty()) {
    throw Error{Kind::usage, "--attach does not go with --detach"};
  }
}

}  // namespace

void checkRunRequest(const RunRequest& request) {
  checkAttach(request);
  checkNetworkOptions(request);
  parsePublished(request.publish);
  checkNamespaceOptions(request);
  checkPlatform(request.platform);
  checkLog(request);
  checkLimits(request.limits);
  checkCgroups(request);
  if (request.remove && !parseRestart(request.restart).policy.empty()) {
    throw Error{Kind::usage, "--rm and --restart exclude each other"};
  }
  if (!request.pull.empty()) (void)parsePull(request.pull, "--pull");
  if (request.stopTimeout && *request.stopTimeout < -1) {
    throw Error{Kind::usage, "--stop-timeout: not a number of seconds"};
  }
}

}  // namespace img::cli
