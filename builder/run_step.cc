// RUN: a container over the layers so far, a fresh upper, output to the progress
// (dockerfile.md 1.9, 3.5-3.7, 6.2).
#include <linux/capability.h>
#include <linux/mount.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <cstring>

#include "base/fs.h"
#include "base/sys.h"
#include "base/text.h"
#include "builder/borrowed_starts.h"
#include "builder/host_view.h"
#include "builder/layer_step.h"
#include "builder/open_mounts.h"
#include "builder/run_failure.h"
#include "builder/run_inputs.h"
#include "builder/run_settings.h"
#include "builder/step_output.h"
#include "builder/step_tree.h"
#include "builder/trace.h"
#include "network/names.h"
#include "network/namespace.h"
#include "network/resolver.h"
#include "runtime/chroot_run.h"
#include "runtime/device_rules.h"
#include "runtime/launch.h"
#include "runtime/monitor.h"
#include "runtime/seccomp_profile.h"
#include "runtime/security.h"
#include "runtime/terminal.h"
#include "runtime/user_namespace.h"
#include "store/rootfs.h"
#include "store/tree_changes.h"
#include "store/union_copy.h"

namespace img::builder {
namespace {

constexpr std::chrono::milliseconds kGrace{2000};

// SigCgt of /proc/PID/status: a bit per signal that has a handler (proc(5)).
bool catchesTerm(pid_t pid) {
  const auto status = fs::tryReadFile(AT_FDCWD, fmt::format("/proc/{}/status", pid));
  const size_t at = status ? status->find("SigCgt:") : std::string::npos;
  if (at == std::string::npos) return false;
  const unsigned long long caught = std::strtoull(status->c_str() + at + 7, nullptr, 16);
  return ((caught >> (SIGTERM - 1)) & 1) != 0;
}

std::string hostsFile(const Scope& scope, const std::string& hostname,
                      const network::Connection* connection) {
  std::string text =
      fmt::format("127.0.0.1\tlocalhost {}\n::1\tlocalhost ip6-localhost ip6-loopback\n", hostname);
  std::vector<std::pair<std::string, std::string>> extra = scope.request->addHosts;
  for (auto& [host, address] : extra) {
    if (address != "host-gateway") continue;
    address = connection != nullptr ? connection->hostGateway() : "127.0.0.1";
  }
  return network::hostsText(std::move(text), extra);
}

// What the host resolves with, or what was asked for instead (--dns).
std::string resolvConf(const Scope& scope, const std::string& network,
                       const network::Connection* connection) {
  const StepOptions& options = scope.request->step;
  network::DnsReach reach;
  if (connection != nullptr) reach = connection->dnsReach();
  reach.sharesLoopback = network == "host";
  const bool isAlone = network != "host" && (connection == nullptr || !connection->isConnected());
  const network::HostDns host = isAlone ? network::HostDns{} : network::HostDns::read();
  return network::resolvConf(host, {options.dns, options.dnsSearch, options.dnsOptions}, reach)
      .text;
}

bool isLeftoverSmall() {
  static BorrowedStarts starts;  // of this process
  return starts.take();
}

// What mounts keep on disk goes away with the step, not with the build.
class MountFolder {
 public:
  explicit MountFolder(int work) : work_(work) {}
  MountFolder(const MountFolder&) = delete;
  MountFolder& operator=(const MountFolder&) = delete;
  ~MountFolder() {
    try {
      fs::removeTree(work_, "mounts");
    } catch (const Error&) {
      return;  // it lies in ingest/, which is cleared anyway
    }
  }

 private:
  int work_;
};

class RunExecution {
 public:
  RunExecution(Workshop& shop, RunSettings& settings, const StepLabel& label)
      : shop_(shop),
        settings_(settings),
        label_(label),
        options_(shop.scope.request->step),
        output_(shop.progress, label, options_.secrets) {}

  Task<> run(Layer& layer, const Snapshot& below) {
    const MountFolder folder{layer.work->fd()};
    OpenMounts mounts;
    co_await open(mounts, layer);
    runtime::Spec spec = makeSpec(layer, below, mounts);
    co_await perform(std::move(spec), layer, runtime::start);
  }

  // The same where nothing can be mounted (work_trees.h).
  Task<> runInTree(Layer& layer, const Snapshot& below) {
    requireNoMounts(settings_, options_);
    std::unique_ptr<WorkTree> tree = co_await shop_.trees.take(shop_, below);
    const int root = tree->root.get();
    const store::TreeState before = store::TreeState::of(root);
    StepTree place{shop_, settings_, *tree};
    runtime::Spec spec = makeCommand();
    addTreeFiles(spec);
    co_await openTree(place, spec);
    for (const auto& [name, value] : place.env()) setEnv(spec.env, name, value);
    std::exception_ptr failure;
    try {
      co_await perform(std::move(spec), layer, [root](const runtime::Spec& command) {
        return runtime::startInChroot(command, root);
      });
    } catch (const Error&) {
      if (!layer.isStarted) throw;
      failure = std::current_exception();  // what the step did is kept with it
    }
    place.close();
    co_await runWorker(shop_.events, [&] {
      before.writeChanges(root, layer.folder.get(), latestTime(shop_.scope));
      return std::string{};
    });
    if (failure) std::rethrow_exception(failure);
    shop_.trees.give(std::move(tree), layer);
  }

  // --debug: `argv` in the same environment, on the caller's terminal. Everything else in this
  // process waits meanwhile.
  Task<> shell(std::vector<std::string> argv, Layer& layer, const Snapshot& below) {
    const MountFolder folder{layer.work->fd()};
    OpenMounts mounts;
    co_await open(mounts, layer);
    // A work folder serves one volatile mount only (kernel: overlayfs.rst, "Volatile mount").
    fs::removeTree(layer.work->fd(), "work");
    sys::mkdirat(layer.work->fd(), "work", 0755);
    runtime::Spec spec = makeSpec(layer, below, mounts);
    spec.argv = std::move(argv);
    if (!hasVariable(spec.env, "TERM")) spec.env.emplace_back("TERM=xterm");
    spec.tty = true;
    if (const auto size = runtime::windowSize(STDIN_FILENO)) {
      spec.ttyRows = size->rows;
      spec.ttyColumns = size->columns;
    }
    const runtime::SignalCatcher signals;
    runtime::Container container = runtime::start(spec);
    const runtime::RawMode raw{STDIN_FILENO};
    runtime::Relay relay;
    relay.terminal = container.takeTerminal();
    relay.input = STDIN_FILENO;
    relay.copyOut = STDOUT_FILENO;
    runtime::follow(container, signals, std::move(relay));
  }

 private:
  using Start = std::function<runtime::Container(const runtime::Spec&)>;

  Task<> perform(runtime::Spec spec, Layer& layer, Start begin) {
    Pipe output = Pipe::make();
    spec.standardOutput = output.write.get();
    spec.standardError = output.write.get();
    Trace::Span starting = Trace::beginStep(shop_.scope.request->trace, label_.number, label_.line,
                                            "mount", "mount and start");
    runtime::Container container = start(spec, begin);
    layer.isStarted = true;
    starting.end();
    output.write.reset();
    std::exception_ptr trouble;
    try {
      co_await follow(container, output.read);
    } catch (...) {
      trouble = std::current_exception();
    }
    if (trouble) {
      co_await endGently(container);
      std::rethrow_exception(trouble);
    }
    const ExitStatus status = container.wait();
    output_.finish();
    if (status.code != 0) throw failure(container, status);
    layer.isRepeatable = !settings_.mounts->hasChangedSource();
    if (!layer.isRepeatable) warnAboutChange();
  }

  static Task<> openTree(StepTree& place, const runtime::Spec& spec) {
    try {
      co_await place.open(spec.files);
    } catch (const Error& error) {
      if (error.cause().starts_with("RUN: ")) throw;
      throw stepError(error, "RUN");
    }
  }

  Task<> open(OpenMounts& mounts, const Layer& layer) {
    try {
      co_await openMounts(shop_, *settings_.mounts, layer.work->fd(), mounts);
    } catch (const Error& error) {
      if (error.cause().starts_with("RUN: ")) throw;
      throw stepError(error, "RUN");
    }
  }

  [[nodiscard]] runtime::Spec makeCommand() const {
    runtime::Spec spec;
    spec.argv = settings_.command.argv;
    spec.env = settings_.runEnv;
    spec.cwd = settings_.cwd;
    spec.user = settings_.user;
    spec.hostname = settings_.hostname;
    addRights(spec);
    addLimits(spec);
    return spec;
  }

  // Processes are in view: a step gets no right that reaches further than its root.
  void addTreeFiles(runtime::Spec& spec) const {
    spec.files = {{"/etc/hosts", hostsFile(shop_.scope, settings_.hostname, nullptr)},
                  {"/etc/hostname", settings_.hostname + "\n"},
                  {"/etc/resolv.conf", resolvConf(shop_.scope, "host", nullptr)}};
    spec.capabilities &= ~runtime::capabilitySet(0, {"SYS_CHROOT", "MKNOD"}, {});
    spec.addedCapabilities &= spec.capabilities;
    spec.noNewPrivs = true;
  }

  runtime::Spec makeSpec(const Layer& layer, const Snapshot& below, OpenMounts& mounts) {
    runtime::Spec spec = makeCommand();
    addNetwork(spec);
    addMounts(spec, mounts, layer);
    addDevices(spec);
    if (spec.cgroupName.empty() && runtime::needsDeviceRules(spec))
      spec.cgroupName = "step-" + fs::randomHex(16);
    spec.hasLateGroups = [] { return false; };  // nobody else knows the name
    spec.isCallerBrief = isLeftoverSmall();
    if (!settings_.command.script.empty()) addScript(spec, layer);
    store::RootfsSpec rootfs;
    rootfs.layers = openFolders(shop_.layout, below);
    rootfs.upper = layer.folder.get();
    rootfs.isVolatile = true;
    folders_.push_back(sys::openDirectory(layer.work->fd(), "work"));
    rootfs.work = folders_.back().get();
    folders_.push_back(openInit(layer, mounts.mountPoints.empty()));
    rootfs.init = folders_.back().get();
    rootfs.mountPoints = mounts.mountPoints;
    spec.mountRootfs = [rootfs] { return store::mountRootfs(rootfs); };
    return spec;
  }

  // A step that may change its network gets one that nobody had before and nobody has after it.
  [[nodiscard]] bool canChangeNetwork() const {
    constexpr std::uint64_t kRights = 1ULL << CAP_NET_ADMIN | 1ULL << CAP_SYS_ADMIN;
    const std::uint64_t all =
        runtime::capabilitySet(options_.capabilities, options_.capAdd, options_.capDrop);
    return settings_.isInsecure || (all & kRights) != 0;
  }

  void addNetwork(runtime::Spec& spec) {
    spec.network = settings_.network == "host" ? runtime::Network::host : runtime::Network::none;
    if (settings_.network == "default") {
      network_.emplace(shop_.networks.take(canChangeNetwork()));
      spec.network = runtime::Network::join;
      spec.networkNamespace = network_->netns();
    } else if (settings_.network == "none" && !network::canAdministerNetworks()) {
      alone_ = network::makeNamespace();
      spec.network = runtime::Network::join;
      spec.networkNamespace = alone_.get();
    }
    const network::Connection* connection = network_ ? &network_->connection() : nullptr;
    spec.filesReadOnly = true;
    spec.files = {{"/etc/hosts", hostsFile(shop_.scope, settings_.hostname, connection)},
                  {"/etc/resolv.conf", resolvConf(shop_.scope, settings_.network, connection)}};
  }

  void addRights(runtime::Spec& spec) const {
    spec.capabilities =
        runtime::capabilitySet(options_.capabilities, options_.capAdd, options_.capDrop);
    spec.addedCapabilities = runtime::capabilitySet(0, options_.capAdd, {});
    spec.privileged = settings_.isInsecure;
    spec.noNewPrivs = options_.noNewPrivs;
    if (options_.isSeccompUnconfined) {
      spec.seccomp = runtime::Seccomp::unconfined;
    } else if (!options_.seccompProfile.empty()) {
      spec.seccomp = runtime::Seccomp::profile;
      spec.seccompFilter =
          runtime::compileSeccompProfile(options_.seccompProfile, spec.capabilities);
    }
    spec.only64Bit = options_.only64Bit;
    if (!spec.privileged) spec.appArmor = options_.appArmor;
    spec.maskedPaths = options_.maskedPaths;
    spec.unmaskedPaths = options_.unmaskedPaths;
  }

  void addLimits(runtime::Spec& spec) const {
    spec.shmSize = options_.shmSize;
    spec.resourceLimits = options_.resourceLimits;
    spec.limits = options_.limits;
    if (!spec.limits.any() && options_.cgroupParent.empty()) return;
    const std::string parent = options_.cgroupParent.empty() ? "" : options_.cgroupParent + "/";
    spec.cgroupName = parent + "step-" + fs::randomHex(16);
    spec.isCgroupRequired = true;
  }

  void addMounts(runtime::Spec& spec, OpenMounts& mounts, const Layer& layer) const {
    spec.mounts = std::move(mounts.mounts);
    for (const auto& [name, value] : mounts.env) {
      const bool isTaken = name == "SSH_AUTH_SOCK" && hasVariable(spec.env, name);
      if (!isTaken) setEnv(spec.env, name, value);
    }
    for (const HostMount& volume : options_.volumes) {
      runtime::Mount mount;
      mount.target = volume.target;
      mount.readOnly = volume.readOnly;
      mount.source = sys::openat(AT_FDCWD, volume.source, O_PATH);
      const struct stat st = sys::fstat(mount.source.get());
      if (volume.isThrowaway && S_ISDIR(st.st_mode)) {
        const std::string name = fmt::format("mounts/volume{}", spec.mounts.size());
        const Fd scratch = fs::makeDirs(layer.work->fd(), name);
        mount.source = mountThrowAway({mount.source.get()}, st, scratch.get());
        mount.type = runtime::Mount::Type::detached;
      }
      mounts.mountPoints.push_back({volume.target, S_ISDIR(st.st_mode)});
      spec.mounts.push_back(std::move(mount));
    }
  }

  static bool hasVariable(const std::vector<std::string>& env, const std::string& name) {
    return std::any_of(env.begin(), env.end(),
                       [&](const std::string& entry) { return entry.starts_with(name + "="); });
  }

  void addDevices(runtime::Spec& spec) const {
    try {
      for (const DeviceRequest& device : settings_.devices)
        addCdiDevice(spec, device, cdiFolders());
      for (const std::string& device : options_.devices) addHostDevice(spec, device, cdiFolders());
    } catch (const Error& error) {
      throw stepError(error, "RUN");
    }
  }

  // The layer is right for this build, but not what its key says: no later one may get it.
  void warnAboutChange() const {
    shop_.progress.warning(Error{Kind::failed,
                                 "files of a bind mount changed while the step ran; its result is "
                                 "not kept for later builds"});
  }

  // The init layer of an earlier step, when the image still lacks the same mount points. One with
  // the targets of this step's mounts is of no use to others.
  Fd openInit(const Layer& layer, bool isShared) const {
    const Layer& owner = settings_.init && isShared ? *settings_.init : layer;
    const std::string name = isShared ? "init" : "own-init";
    sys::tryMkdirat(owner.work->fd(), name, 0755);
    return sys::openDirectory(owner.work->fd(), name);
  }

  // The script lies beside the upper, so it is never part of the layer.
  void addScript(runtime::Spec& spec, const Layer& layer) const {
    sys::tryUnlinkat(layer.work->fd(), "script", 0);  // of a run before a shell
    const Fd file = sys::openat(layer.work->fd(), "script", O_WRONLY | O_CREAT | O_EXCL, 0700);
    writeAll(file.get(), settings_.command.script, "script");
    sys::fchmod(file.get(), 0755);
    runtime::Mount mount;
    mount.source = sys::openat(layer.work->fd(), "script", O_PATH);
    mount.target = kScriptPath;
    mount.readOnly = true;
    spec.mounts.push_back(std::move(mount));
  }

  runtime::Container start(const runtime::Spec& spec, const Start& begin) const {
    try {
      return begin(spec);
    } catch (const Error& error) {
      Error shown = stepError(error, "RUN");
      if (error.exitCode() == 127 && settings_.command.isShellForm) {
        shown.code("shell-missing");
        shown.hint(
            fmt::format("the stage has no shell {}; use the JSON form, RUN [\"program\", "
                        "\"argument\"], or SHELL",
                        text::escape(spec.argv.front())));
      }
      throw shown;
    }
  }

  // reliability.md 8: TERM, and KILL after two seconds or a second signal; the container's handle
  // kills. A PID 1 that does not catch TERM never sees it (pid_namespaces(7)), so it is not waited
  // for.
  Task<> endGently(const runtime::Container& container) const {
    if (!catchesTerm(container.pid())) co_return;
    container.kill(SIGTERM);
    co_await shop_.events.untilEnd(container.pidfd(), kGrace);
  }

  Task<> follow(const runtime::Container& container, Fd& output) {
    std::string buffer(size_t{64} << 10, '\0');
    // A process that the step left behind may keep the pipe open: the end of PID 1 ends the step.
    for (;;) {
      const unsigned ready = co_await shop_.events.readable(output.get(), container.pidfd());
      if ((ready & Events::kFirst) == 0) {
        drain(output, buffer);
        co_return;
      }
      const auto count = static_cast<size_t>(
          sys::check([&] { return ::read(output.get(), buffer.data(), buffer.size()); },
                     "read the output of a step"));
      if (count == 0) break;  // closed by the command, which may go on without it
      output_.add({buffer.data(), count});
    }
    co_await shop_.events.readable(container.pidfd());
  }

  void drain(Fd& output, std::string& buffer) {
    sys::setNonBlocking(output.get(), true);
    for (ssize_t count; (count = ::read(output.get(), buffer.data(), buffer.size())) > 0;) {
      output_.add({buffer.data(), static_cast<size_t>(count)});
    }
  }

  Error failure(const runtime::Container& container, const ExitStatus& status) {
    RunOutcome outcome;
    outcome.command = text::escape(text::join(settings_.command.argv, " "));
    outcome.status = status;
    outcome.lastLines = output_.lastLines();
    outcome.isOutOfMemory = container.outOfMemory();
    outcome.memoryLimit = options_.limits.memory;
    outcome.memoryPeak = container.peakMemory();
    outcome.isWithoutNetwork = network_ && !network_->connection().isConnected();
    outcome.hasOneId = runtime::contiguousIds(runtime::currentUidMap()) == 1;
    return runFailure(outcome, shop_.layout);
  }

  Workshop& shop_;
  RunSettings& settings_;
  const StepLabel& label_;
  const StepOptions& options_;
  std::vector<Fd> folders_;
  std::optional<network::NetworkPool::Use> network_;
  Fd alone_;  // a network without anything
  StepOutput output_;
};

Task<> execute(Workshop& shop, RunSettings& settings, const StepLabel& label, Layer& layer,
               const Snapshot& below) {
  RunExecution execution{shop, settings, label};
  if (!store::copiesUnions()) co_return co_await execution.run(layer, below);
  co_await execution.runInTree(layer, below);
}

Task<> openShell(Workshop& shop, RunSettings& settings, const StepLabel& label,
                 std::vector<std::string> argv, Layer& layer, const Snapshot& below) {
  RunExecution execution{shop, settings, label};
  co_await execution.shell(std::move(argv), layer, below);
}

Task<Digest> keyByContent(Workshop& shop, RunSettings& settings) {
  co_await settings.mounts->openSources();
  co_return keyOf(shop, settings, RunMounts::KeyKind::content);
}

}  // namespace

LayerStep prepareRun(Workshop& shop, const PlannedStage& planned, const parser::Step& step,
                     const StageState& stage, const StepLabel& label) {
  const auto settings = std::make_shared<RunSettings>(settingsOf(shop, planned, step, stage));
  LayerStep job;
  job.key = keyOf(shop, *settings, RunMounts::KeyKind::definition);
  shop.cacheMounts.merge(settings->mounts->cacheIdentities());
  if (settings->mounts->hasForeignSource())
    job.contentKey = [&shop, settings] { return keyByContent(shop, *settings); };
  job.createdBy = createdBy(*settings, stage);
  job.command =
      StepCommand{settings->command.argv, settings->env,     settings->cwd,       settings->user,
                  settings->hostname,     settings->network, settings->isInsecure};
  job.inputs = [&shop, &stage, settings](InputList& list) {
    addRunInputs(list, *settings, stage, *shop.scope.request);
  };
  job.execute = [&shop, settings, label](Layer& layer, const Snapshot& below) {
    return execute(shop, *settings, label, layer, below);
  };
  job.openShell = [&shop, settings, label, argv = shellWithoutCommand(stage.config)](
                      Layer& layer, const Snapshot& below) {
    return openShell(shop, *settings, label, argv, layer, below);
  };
  return job;
}

}  // namespace img::builder
