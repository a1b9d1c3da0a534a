// `img stop`, `kill`, `rm`, `restart`, `rename`, `container prune`: several targets each,
// every one is treated, the failures are shown, and the status is 1 if there was one (cli.md 3).
#include <csignal>
#include <functional>

#include "base/error.h"
#include "base/text.h"
#include "cli/container_commands.h"
#include "cli/container_config.h"
#include "cli/container_control.h"
#include "cli/container_facts.h"
#include "cli/container_network.h"
#include "cli/keeper.h"
#include "cli/options.h"
#include "cli/prune.h"
#include "store/containers.h"
#include "store/usage.h"

namespace img::cli {
namespace {

using Action = std::function<void(const store::ContainerRecord& record)>;

// The ids of those that pass every filter.
std::vector<std::string> matching(const store::Containers& containers,
                                  const std::vector<std::string>& filters) {
  const ContainerFilter filter = readContainerFilter(containers, filters);
  std::vector<std::string> ids;
  for (const store::ContainerRecord& record : containers.list()) {
    if (filter.passes(record)) ids.push_back(record.config.id);
  }
  return ids;
}

std::vector<std::string> namesOrAll(const store::Containers& containers, const Options& options,
                                    bool all, bool onlyAlive) {
  if (!all) return options.words();
  std::vector<std::string> names;
  for (const store::ContainerRecord& record : containers.list()) {
    if (!onlyAlive || record.state.isAlive()) names.push_back(record.config.id);
  }
  return names;
}

// Prints each name as given once its action is done. `ignoreMissing`: no error, but a line on
// stderr.
int forEach(Context& context, const std::vector<std::string>& names, bool ignoreMissing,
            const Action& action) {
  const store::Containers containers{context.store()};
  for (const std::string& name : names) {
    try {
      const auto record = containers.find(name);
      if (!record && ignoreMissing) {
        context.notice(fmt::format("no such container: {}\n", text::escape(name)));
        continue;
      }
      action(record ? *record : containers.get(name));
      context.print(name + "\n");
    } catch (const Error& error) {
      context.fail(error);
    }
  }
  return context.status();
}

void requireTargets(const Options& options, bool all) {
  if (!all && options.words().empty()) throw Error{Kind::usage, "a container is needed"};
}

int stopContainers(Context& context, const std::vector<std::string>& args) {
  StopRequest stop;
  bool all = false;
  bool ignore = false;
  Options options{context, "CONTAINER...", "Stop running containers"};
  options
      .number("-t,--timeout,--time", stop.timeoutSeconds, "SECONDS",
              "Wait this long, then kill (10)")
      .value("-s,--signal", "SIGNAL", "Send this signal",
             [&](const std::string& name) { stop.signal = parseSignal(name); })
      .flag("-a,--all", all, "All running containers")
      .flag("-i,--ignore", ignore, "A missing container is no error")
      .positionals(0, kAnyNumber);
  if (!options.parse(args)) return 0;
  requireTargets(options, all);
  const store::Containers containers{context.store()};
  return forEach(
      context, namesOrAll(containers, options, all, true), ignore,
      [&](const store::ContainerRecord& record) {
        if (!stopContainer(containers, record, stop)) return;
        context.notice(fmt::format(
            "{} ignored its stop signal for {}s; --init or --stop-signal may help\n",
            record.config.name, stop.timeoutSeconds.value_or(record.config.stopTimeout)));
      });
}

int killContainers(Context& context, const std::vector<std::string>& args) {
  int signal = SIGKILL;
  bool all = false;
  Options options{context, "CONTAINER...", "Send a signal to running containers"};
  options
      .value("-s,--signal", "SIGNAL", "The signal (KILL)",
             [&](const std::string& name) { signal = parseSignal(name); })
      .flag("-a,--all", all, "All running containers")
      .positionals(0, kAnyNumber);
  if (!options.parse(args)) return 0;
  requireTargets(options, all);
  const store::Containers containers{context.store()};
  return forEach(context, namesOrAll(containers, options, all, true), false,
                 [&](const store::ContainerRecord& record) {
                   signalContainer(containers, record, signal);
                   // Who asks next must not see it running: SIGKILL cannot be ignored.
                   if (signal == SIGKILL) killAndWait(containers, record.config.id);
                 });
}

int removeContainers(Context& context, const std::vector<std::string>& args) {
  RemoveRequest remove;
  bool all = false;
  bool ignore = false;
  std::vector<std::string> filters;
  Options options{context, "CONTAINER...", "Remove containers"};
  options.flag("-f,--force", remove.force, "Kill what runs; a missing one is no error")
      .flag("-v,--volumes", remove.volumes, "Remove their anonymous volumes too")
      .flag("-a,--all", all, "All containers")
      .list("--filter", filters, "KIND=VALUE", "Those that match, as with ps")
      .flag("-i,--ignore", ignore, "A missing container is no error")
      .positionals(0, kAnyNumber);
  if (!options.parse(args)) return 0;
  requireTargets(options, all || !filters.empty());
  recoverEverything(context.store());
  const store::Containers containers{context.store()};
  std::vector<std::string> names = namesOrAll(containers, options, all, false);
  if (!filters.empty()) {
    if (all || !names.empty()) {
      throw Error{Kind::usage, "--filter goes with neither names nor --all"};
    }
    names = matching(containers, filters);
  }
  return forEach(context, names, ignore || remove.force, [&](const store::ContainerRecord& record) {
    removeContainer(context.store(), record, remove);
  });
}

int restartContainers(Context& context, const std::vector<std::string>& args) {
  StopRequest stop;
  Options options{context, "CONTAINER...", "Stop containers and start them again"};
  options
      .number("-t,--timeout,--time", stop.timeoutSeconds, "SECONDS",
              "Wait this long, then kill (10)")
      .value("-s,--signal", "SIGNAL", "Send this signal",
             [&](const std::string& name) { stop.signal = parseSignal(name); })
      .positionals(1, kAnyNumber);
  if (!options.parse(args)) return 0;
  const store::Containers containers{context.store()};
  return forEach(context, options.words(), false, [&](const store::ContainerRecord& record) {
    stopContainer(containers, record, stop);
    auto lock = killAndWait(containers, record.config.id);
    if (!lock)
      throw Error::make(Kind::notFound, "container {} was removed when it stopped",
                        record.config.name);
    Keeper{context.store(), record.config, std::move(*lock), context.runRoot()}.runDetached({});
  });
}

template <bool Paused>
int pauseContainers(Context& context, const std::vector<std::string>& args) {
  Options options{context, "CONTAINER...",
                  Paused ? "Freeze all processes of containers" : "Let frozen containers go on"};
  options.positionals(1, kAnyNumber);
  if (!options.parse(args)) return 0;
  const store::Containers containers{context.store()};
  return forEach(context, options.words(), false, [&](const store::ContainerRecord& record) {
    setPaused(containers, record, Paused);
  });
}

int renameContainer(Context& context, const std::vector<std::string>& args) {
  Options options{context, "CONTAINER NEW-NAME", "Give a container another name"};
  options.positionals(2, 2);
  if (!options.parse(args)) return 0;
  const store::Containers containers{context.store()};
  const store::ContainerRecord record = containers.get(options.words()[0]);
  containers.rename(record, options.words()[1]);
  renameOnNetwork(containers.get(record.config.id), context.runRoot());
  return 0;
}

int pruneContainers(Context& context, const std::vector<std::string>& args) {
  bool force = false;
  bool dryRun = false;
  std::vector<std::string> filters;
  Options options{context, "", "Remove all containers that do not run"};
  options.flag("-f,--force", force, "Do not ask")
      .list("--filter", filters, "KIND=VALUE", "Only those that match: until, label, label!")
      .flag("--dry-run", dryRun, "Only show what would go")
      .positionals(0, 0);
  if (!options.parse(args)) return 0;
  if (!force && !dryRun) confirmPrune(context, "This will remove all stopped containers.");
  for (const std::string& id : pruneStoppedContainers(context, filters, dryRun).lines)
    context.print(id + "\n");
  return 0;
}

// False: it runs by now, or somebody else removes it. Nobody who prunes wants to hear of either.
bool tryRemove(const store::Layout& layout, const store::ContainerRecord& record) {
  try {
    removeContainer(layout, record, {false, true});
    return true;
  } catch (const Error& error) {
    if (error.code() != "container-running" && error.code() != "container-not-found") throw;
    return false;
  }
}

}  // namespace

Pruned pruneStoppedContainers(Context& context, const std::vector<std::string>& filters,
                              bool isDryRun) {
  recoverEverything(context.store());
  const store::Layout& layout = context.store();
  const store::Containers containers{layout};
  const ContainerFilter filter = readContainerFilter(containers, filters);
  Pruned pruned;
  for (const store::ContainerRecord& record : containers.list()) {
    if (record.state.isAlive() || !filter.passes(record)) continue;
    const auto bytes = store::diskUsage(layout.fd(), "containers/" + record.config.id).bytes;
    if (!isDryRun && !tryRemove(layout, record)) continue;
    pruned.bytes += bytes;
    pruned.lines.push_back(record.config.id);
  }
  return pruned;
}

void addLifecycleCommands(CommandTable& table) {
  const Group group = Group::containers;
  table.add({"stop,container stop", group, "Stop running containers", stopContainers});
  table.add({"kill,container kill", group, "Send a signal to running containers", killContainers});
  table.add({"restart,container restart", group, "Stop containers and start them again",
             restartContainers});
  table.add({"rm,remove,container rm", group, "Remove containers", removeContainers});
  table.add({"rename,container rename", group, "Give a container another name", renameContainer});
  table.add({"pause,container pause", group, "Freeze all processes of containers",
             pauseContainers<true>});
  table.add(
      {"unpause,container unpause", group, "Let frozen containers go on", pauseContainers<false>});
  table.add({"container prune", group, "Remove all containers that do not run", pruneContainers});
}

}  // namespace img::cli
