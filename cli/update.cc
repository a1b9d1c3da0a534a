// `img update`: other limits and another restart policy for containers, at once and for later
// starts.
#include <algorithm>

#include "base/error.h"
#include "base/text.h"
#include "cli/container_commands.h"
#include "cli/container_control.h"
#include "cli/container_group.h"
#include "cli/container_spec.h"
#include "cli/health_options.h"
#include "cli/options.h"
#include "cli/run_options.h"
#include "store/containers.h"

namespace img::cli {
namespace {

template <class Value>
void take(const std::optional<Value>& from, std::optional<Value>& to) {
  if (from) to = from;
}

// What is not given stays as it is.
store::LimitRecord merged(store::LimitRecord limits, const store::LimitRecord& more) {
  take(more.memory, limits.memory);
  take(more.memorySwap, limits.memorySwap);
  take(more.memoryReservation, limits.memoryReservation);
  take(more.cpuShares, limits.cpuShares);
  take(more.pids, limits.pids);
  take(more.blkioWeight, limits.blkioWeight);
  if (more.nanoCpus) {
    limits.nanoCpus = more.nanoCpus;
    limits.cpuQuota = limits.cpuPeriod = std::nullopt;
  }
  if (more.cpuQuota || more.cpuPeriod) limits.nanoCpus = std::nullopt;
  take(more.cpuQuota, limits.cpuQuota);
  take(more.cpuPeriod, limits.cpuPeriod);
  if (!more.cpusetCpus.empty()) limits.cpusetCpus = more.cpusetCpus;
  if (!more.cpusetMems.empty()) limits.cpusetMems = more.cpusetMems;
  return limits;
}

// The limits that belong together with those that change, and no others.
runtime::Limits changedLimits(const store::LimitRecord& all, const store::LimitRecord& given) {
  store::LimitRecord changed = given;
  if (given.memory || given.memorySwap) {
    changed.memory = all.memory;
    changed.memorySwap = all.memorySwap;
  }
  if (given.cpuQuota || given.cpuPeriod) {
    changed.cpuQuota = all.cpuQuota;
    changed.cpuPeriod = all.cpuPeriod;
  }
  return limitsOf(changed);
}

// The container may have ended after our look, and its keeper have looked for groups before ours
// were there.
void dropGroupsOfEnded(const store::Containers& containers, const store::ContainerRecord& record) {
  if (const auto lock = containers.tryHold(record.config.id)) dropCgroup(record);
}

void applyToRunning(const store::Containers& containers, const store::ContainerRecord& record,
                    const runtime::Limits& limits) {
  const std::string name = cgroupNameOf(record.config);
  if (name.empty()) {
    throw Error::make(Kind::failed, "container {} runs without cgroups", record.config.name)
        .code("cgroup")
        .hint("it was started with --cgroups=disabled");
  }
  containers.announceLateGroups(record.config.id);
  const std::vector<std::string> folders = runtime::CgroupTree{}.update(name, limits).folders;
  bool isAlive = false;
  const auto setFolders = [&](store::ContainerState& state) {
    isAlive = state.isAlive();
    if (isAlive) state.cgroups = folders;
    return isAlive;
  };
  containers.changeState(record.config.id, setFolders);
  if (!isAlive) dropGroupsOfEnded(containers, record);
}

void updateOne(const store::Containers& containers, const store::ContainerRecord& record,
               const store::LimitRecord& given, const std::string& restart) {
  store::ContainerConfig config = record.config;
  config.limits = merged(config.limits, given);
  checkLimits(config.limits);
  if (!restart.empty()) config.restart = parseRestart(restart);
  if (config.autoRemove && !config.restart.policy.empty()) {
    throw Error::make(Kind::usage, "container {} is removed when it ends: no --restart",
                      config.name);
  }
  const runtime::Limits changed = changedLimits(config.limits, given);
  const bool hasPids = given.pids.has_value();
  const bool isRunning = openProcess(record.state) && (changed.any() || hasPids);
  try {
    if (isRunning) applyToRunning(containers, record, changed);
    containers.setConfig(config);
  } catch (const Error& error) {
    // Its keeper may have looked for groups before ours were there, and removed the record at any
    // time since. Nobody can start it again.
    if (isRunning && error.kind() == Kind::notFound) dropCgroup(record);
    throw;
  }
}

int updateContainers(Context& context, const std::vector<std::string>& args) {
  store::LimitRecord limits;
  std::vector<std::string> ulimits;
  std::string restart;
  Options options{context, "CONTAINER...", "Change the limits of containers"};
  addLimitOptions(options, limits, ulimits);
  options
      .text("--restart", restart, "no|on-failure[:N]|always|unless-stopped",
            "Start it again when it ends")
      .positionals(1, kAnyNumber);
  if (!options.parse(args)) return 0;
  if (!ulimits.empty()) {
    throw Error{Kind::usage, "--ulimit belongs to run: a running process keeps its own"};
  }
  if (limits.oomScoreAdj) {
    throw Error{Kind::usage, "--oom-score-adj belongs to run: a running process keeps its own"};
  }
  const store::Containers containers{context.store()};
  for (const std::string& name : options.words()) {
    try {
      updateOne(containers, containers.get(name), limits, restart);
      context.print(name + "\n");
    } catch (const Error& error) {
      context.fail(error);
    }
  }
  return context.status();
}

}  // namespace

void addUpdateCommand(CommandTable& table) {
  table.add({"update,container update", Group::containers, "Change the limits of containers",
             updateContainers});
}

}  // namespace img::cli
