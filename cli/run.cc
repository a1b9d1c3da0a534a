// `img run`, `img create` and `img start`.
#include <unistd.h>

#include <algorithm>
#include <memory>

#include "base/error.h"
#include "base/fs.h"
#include "base/own_namespace.h"
#include "base/sys.h"
#include "base/text.h"
#include "cli/container_commands.h"
#include "cli/container_config.h"
#include "cli/container_control.h"
#include "cli/container_group.h"
#include "cli/container_mounts.h"
#include "cli/container_network.h"
#include "cli/container_ports.h"
#include "cli/container_spec.h"
#include "cli/keeper.h"
#include "cli/network_options.h"
#include "cli/options.h"
#include "cli/pull.h"
#include "cli/rootless.h"
#include "cli/run_options.h"
#include "cli/security_options.h"
#include "cli/values.h"
#include "store/images.h"

namespace img::cli {
namespace {

// cli.md 3: whatever fails before the command exists is 125, unless the error knows better (126,
// 127).
template <class Work>
auto withRunStatus(Work&& work) -> decltype(work()) {
  try {
    return work();
  } catch (Error& error) {
    if (!error.exitCode()) error.exitCode(125);
    throw;
  }
}

void checkTerminal() {
  if (::isatty(0) != 0) return;
  throw Error{Kind::failed, "the input device is not a TTY"}.hint("drop -t in CI").exitCode(1);
}

void checkTerminal(const RunRequest& request) {
  if (request.tty && !request.detach) checkTerminal();
}

// One line, for what a reader of the command line could overlook.
void warnOfOpenConfinement(Context& context, const store::ContainerConfig& config) {
  if (config.privileged) {
    context.notice(
        "warning: --privileged: the container has all capabilities and devices of the host, and "
        "no filter\n");
  } else if (parseSecurityOptions(config.securityOpt).isSeccompOff) {
    context.notice("warning: seccomp=unconfined: system calls of the container are not filtered\n");
  }
}

void checkNewFile(const std::string& path) {
  if (path.empty() || !sys::tryFstatat(AT_FDCWD, path)) return;
  throw Error::make(Kind::exists, "the container id file {} exists", text::quote(path))
      .hint("remove it or give another --cidfile");
}

void writeIdFile(const std::string& path, const std::string& id) {
  if (path.empty()) return;
  const Fd file = sys::openat(AT_FDCWD, path, O_WRONLY | O_CREAT | O_EXCL, 0644);
  writeAll(file.get(), id, path);
}

void replaceNamesake(const store::Layout& layout, const RunRequest& request) {
  if (!request.replace || request.name.empty()) return;
  const auto holder = store::Containers{layout}.find(request.name);
  if (holder && holder->config.name == request.name) removeContainer(layout, *holder, {true, true});
}

// What belongs to a new record and lies elsewhere. Should we be killed here, the next command
// removes the record, and with it the volumes it names.
void completeRecord(const store::Layout& layout, const std::vector<MountRequest>& mounts,
                    const RunRequest& request, const store::ContainerConfig& config) {
  const store::Containers containers{layout};
  try {
    if (wantsVolumes(mounts)) containers.markAutoRemove(config.id);
    makeVolumes(layout, mounts, config);
    if (wantsVolumes(mounts) && !config.autoRemove) containers.unmarkAutoRemove(config.id);
    writeIdFile(request.cidFile, config.id);
  } catch (...) {
    removeAnonymousVolumes(layout, config);
    containers.remove(config.id, config.name);
    throw;
  }
}

ImageWish wishOf(const RunRequest& request) {
  ImageWish wish;
  if (!request.pull.empty()) wish.pull = parsePull(request.pull, "--pull");
  if (!request.platform.empty()) wish.platform = parsePlatform(request.platform);
  wish.access = request.access;
  wish.isQuiet = request.quiet;
  return wish;
}

// Images that are mounted are pulled like the one that is run, when they are not there.
void obtainMounted(Context& context, const std::vector<MountRequest>& mounts, ImageWish wish) {
  wish.platform.reset();
  if (wish.pull == Pull::always || wish.pull == Pull::newer) wish.pull = Pull::missing;
  for (const MountRequest& mount : mounts) {
    if (mount.type == MountRequest::Type::image) (void)obtainImage(context, mount.source, wish);
  }
}

// A namespace that is certain to be needed is made while the image is looked up. Not by who forks
// afterwards: a thread stays behind. A user namespace of the container's own owns that as well.
std::unique_ptr<runtime::EarlyNetwork> beginNetwork(const RunRequest& request) {
  const NetworkMode mode = networkMode(request.network);
  const bool isOwn =
      mode != NetworkMode::host && mode != NetworkMode::container && mode != NetworkMode::path;
  const bool isWanted = isOwn && !request.detach && !request.tty &&
                        request.namespaces.user.empty() && request.namespaces.uidMap.empty() &&
                        isInMachineNamespace();
  return isWanted ? std::make_unique<runtime::EarlyNetwork>(true) : nullptr;
}

struct NewContainer {
  store::Containers::Held record;
  OpenedLayers layers;
  std::unique_ptr<runtime::EarlyNetwork> network;
};

NewContainer makeContainer(Context& context, const RunRequest& request, bool forRun) {
  const store::Layout& layout = context.store();
  requireNamespaces();
  std::unique_ptr<runtime::EarlyNetwork> network = forRun ? beginNetwork(request) : nullptr;
  recoverContainers(layout);
  replaceNamesake(layout, request);
  // Until the record pins them, a concurrent collection must not take what we found.
  const store::StoreUse use{layout};
  const store::Image image = obtainImage(context, request.words.front(), wishOf(request));
  store::ContainerConfig config = configFor(request, image);
  warnOfOpenConfinement(context, config);
  settleNamespaces(layout, config);
  settleNetwork(layout, config);
  warnOfIgnoredPorts(config);
  OpenedLayers layers = openLayers(layout, config);
  if (confinementOf(config).createsMountSources) createMountSources(request);
  std::vector<store::MountRecord> inherited;
  addVolumesFrom(layout, request.volumesFrom, inherited);
  obtainMounted(context, mountRequests(request, image.config, inherited), wishOf(request));
  const std::vector<MountRequest> mounts = mountRequests(request, image.config, inherited);
  config.mounts = settleMounts(layout, mounts);
  addMissing(std::move(inherited), config.mounts);
  store::Containers::Held held = store::Containers{layout}.createHeld(config);
  completeRecord(layout, mounts, request, held.config);
  // Whoever removed the image's last name before the record was there did not know of it.
  store::Images{layout}.keepForContainer(image.manifestDescriptor);
  return {std::move(held), std::move(layers), std::move(network)};
}

// Reads the options of `run` or `create`; false: the help was shown.
bool parseRequest(Context& context, const std::vector<std::string>& args, bool forRun,
                  RunRequest& request) {
  Options options{
      context, "IMAGE [COMMAND [ARG...]]",
      forRun ? "Run a command in a new container" : "Make a container without starting it"};
  addRunOptions(options, request, forRun);
  if (!options.parse(args)) return false;
  request.words = options.words();
  checkRunRequest(request);
  checkTerminal(request);
  checkNewFile(request.cidFile);
  return true;
}

bool attachesTo(const RunRequest& request, std::string_view stream) {
  const auto& wanted = request.attach;
  return wanted.empty() || std::find(wanted.begin(), wanted.end(), stream) != wanted.end();
}

int runImage(Context& context, const std::vector<std::string>& args) {
  RunRequest request;
  return withRunStatus([&] {
    if (!parseRequest(context, args, true, request)) return 0;
    NewContainer made = makeContainer(context, request, true);
    store::Containers::Held& held = made.record;
    const std::string id = held.config.id;
    KeepOptions keep;
    keep.interactive = request.interactive && attachesTo(request, "stdin");
    keep.attachOutput = attachesTo(request, "stdout");
    keep.attachError = attachesTo(request, "stderr");
    keep.forwardSignals = request.forwardSignals;
    keep.pidFile = request.pidFile;
    keep.isNew = true;
    keep.idFile = request.cidFile;
    keep.detachKeys = runtime::DetachKeys{request.detachKeys};
    Keeper keeper{context.store(), std::move(held.config), std::move(held.lock), context.runRoot()};
    keeper.giveLayers(std::move(made.layers));
    keeper.giveNetwork(std::move(made.network));
    if (!request.detach && request.tty && keep.interactive) return keeper.runLeavable(keep);
    if (!request.detach) return keeper.runAttached(keep);
    keeper.runDetached(keep);
    context.print(id + "\n");
    return 0;
  });
}

int createContainer(Context& context, const std::vector<std::string>& args) {
  RunRequest request;
  return withRunStatus([&] {
    request.detach = true;  // a terminal is needed only when it starts
    if (!parseRequest(context, args, false, request)) return 0;
    const NewContainer made = makeContainer(context, request, false);
    context.print(made.record.config.id + "\n");
    return 0;
  });
}

struct StartOptions {
  bool attach = false, interactive = false, forwardSignals = true;
  std::string detachKeys = runtime::kDefaultDetachKeys;
};

// Nothing for one that runs already.
int startOne(Context& context, const std::string& name, const StartOptions& options) {
  const store::Containers containers{context.store()};
  const store::ContainerRecord record = containers.get(name);
  if (record.state.isAlive()) {
    if (!options.attach) return 0;
    throw Error::make(Kind::failed, "container {} is running already", record.config.name);
  }
  auto lock = holdUnlessRunning(containers, record.config.id);
  if (!lock)
    throw Error::make(Kind::busy, "container {} is being started or stopped", record.config.name);
  if (!record.state.error.empty()) dropCgroup(record);
  Keeper keeper{context.store(), record.config, std::move(*lock), context.runRoot()};
  lock.reset();
  KeepOptions keep;
  keep.interactive = options.interactive && record.config.openStdin;
  keep.forwardSignals = options.forwardSignals;
  keep.detachKeys = runtime::DetachKeys{options.detachKeys};
  if (keep.interactive && record.config.tty) {
    checkTerminal();
    return keeper.runLeavable(keep);
  }
  if (options.attach) return keeper.runAttached(keep);
  keeper.runDetached(keep);
  return 0;
}

int startContainers(Context& context, const std::vector<std::string>& args) {
  StartOptions start;
  Options options{context, "CONTAINER...", "Start containers that do not run"};
  options.flag("-a,--attach", start.attach, "Stay with it: output, signals, exit status")
      .flag("-i,--interactive", start.interactive, "Pass standard input on; implies --attach")
      .flag("--sig-proxy", start.forwardSignals, "Pass signals on to the command (true)")
      .text("--detach-keys", start.detachKeys, "KEYS", "Keys that leave it (ctrl-p,ctrl-q)")
      .positionals(1, kAnyNumber);
  if (!options.parse(args)) return 0;
  start.attach = start.attach || start.interactive;
  if (start.attach && options.words().size() > 1) {
    throw Error{Kind::usage, "only one container can be attached to"};
  }
  recoverContainers(context.store());
  if (start.attach) return startOne(context, options.words().front(), start);
  for (const std::string& name : options.words()) {
    try {
      startOne(context, name, start);
      context.print(name + "\n");
    } catch (const Error& error) {
      context.fail(error);
    }
  }
  return context.status();
}

}  // namespace

void addRunCommands(CommandTable& table) {
  table.add({"run,container run", Group::containers, "Run a command in a new container", runImage});
  table.add({"create,container create", Group::containers, "Make a container without starting it",
             createContainer});
  table.add({"start,container start", Group::containers, "Start containers that do not run",
             startContainers});
}

}  // namespace img::cli
