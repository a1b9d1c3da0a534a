#include "cli/keeper.h"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <ctime>

#include "base/fs.h"
#include "base/log.h"
#include "base/sys.h"
#include "cli/container_config.h"
#include "cli/container_mounts.h"
#include "cli/container_spec.h"
#include "cli/daemon.h"
#include "cli/human.h"
#include "cli/restart_policy.h"
#include "cli/shifted_rootfs.h"
#include "runtime/attach.h"
#include "runtime/terminal.h"

namespace img::cli {

using Status = store::ContainerState::Status;

// What the container's standard streams are, and our ends of them.
struct Keeper::Streams {
  bool isDetached = false;
  Fd folder;  // of the record, for the log
  std::optional<runtime::LogWriter> log;
  std::optional<runtime::AttachServer> attach;
  runtime::Relay relay;
  Fd heldInput;  // -d -i: nobody writes but who attaches, and it stays open
};

namespace {

void openLog(const store::ContainerConfig& config, int folder,
             std::optional<runtime::LogWriter>& log) {
  if (config.logDriver == "none" || config.logDriver == "passthrough") return;
  const std::uint64_t size = config.logMaxSize > 0 ? static_cast<std::uint64_t>(config.logMaxSize)
                                                   : runtime::LogWriter::kRotateAt;
  log.emplace(folder, size,
              config.logMaxFiles > 0 ? config.logMaxFiles : runtime::LogWriter::kFiles);
}

// overlayfs leaves the mark of a volatile mount in its work folder (overlayfs.rst, "Volatile
// mount") and does not look at it again. It would go with the record; while the command runs,
// nobody waits.
void dropVolatileMark(int record) {
  try {
    const auto work = sys::tryOpenat(record, "work/work", O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
    if (work) fs::removeTree(work->get(), "incompat");
  } catch (const Error&) {  // removing the record says why it cannot be
  }
}

void writePidFile(const std::string& path, pid_t pid) {
  if (!path.empty()) fs::replaceFile(AT_FDCWD, path, std::to_string(pid), 0644, fs::Sync::none);
}

}  // namespace

Keeper::Keeper(const store::Layout& layout, store::ContainerConfig config, FileLock lock,
               std::string runRoot)
    : layout_(layout),
      containers_(layout),
      config_(std::move(config)),
      lock_(std::move(lock)),
      runRoot_(std::move(runRoot)) {
  if (config_.autoRemove) {
    containers_.markAutoRemove(config_.id);
  } else {
    containers_.forgetStop(config_.id);
  }
}

Keeper::~Keeper() = default;

// In the process that the user sees: what it has to say about the network must not get lost.
void Keeper::reserveNetwork(const KeepOptions& options) {
  try {
    network_.emplace(layout_, config_, runRoot_);
    ports_.emplace(layout_, config_);
  } catch (Error& error) {
    // cli.md 10.4: a taken port leaves nothing behind.
    if (options.isNew && error.code() == "port-in-use") {
      if (!options.idFile.empty()) sys::tryUnlinkat(AT_FDCWD, options.idFile, 0);
      removeRecord();
    } else {
      recordFailure(error);
    }
    throw;
  }
}

void Keeper::connect(pid_t pid, int netns) {
  if (network_->isAttached()) network_->attach(netns);
  network_->record(state_);
  ports_->serve(pid, netns, state_.address);
  state_.ports = ports_->records();
}

void Keeper::start(const KeepOptions& options, Streams& streams) {
  PreparedContainer prepared =
      prepareContainer(layout_, config_, config_.autoRemove, std::exchange(layers_, {}));
  runtime::Spec& spec = prepared.spec;
  namespaces_.emplace(layout_, config_, runRoot_);
  namespaces_->prepare(spec);
  network_->prepare(spec);
  if (network_->isAttached() || ports_->isNeeded()) {
    spec.onCreated = [this](pid_t pid, int netns) { connect(pid, netns); };
  }
  spec.hasLateGroups = [this] { return containers_.mayHaveLateGroups(config_.id); };
  // Our copies of the container's ends go at the end of this function: then only the container
  // holds them.
  Pipe out;
  Pipe err;
  Pipe input;
  // A foreground container that leaves nothing behind needs no log: it gets the caller's own
  // streams.
  const bool isPassed = config_.logDriver == "passthrough";
  const bool isDirect = !streams.isDetached && !config_.tty && (config_.autoRemove || isPassed);
  if (!isDirect) {
    streams.folder = prepared.folder.duplicate();
    openLog(config_, streams.folder.get(), streams.log);
    if (streams.log) streams.relay.log = &*streams.log;
    streams.attach.emplace(streams.folder);
    streams.relay.attach = &*streams.attach;
  }
  if (!streams.isDetached) {
    if (options.attachOutput) streams.relay.copyOut = spec.standardOutput = 1;
    if (options.attachError) streams.relay.copyErr = spec.standardError = 2;
  }
  if (!isDirect && !config_.tty) {
    out = Pipe::make();
    err = Pipe::make();
    spec.standardOutput = out.write.get();
    spec.standardError = err.write.get();
  }
  if (options.interactive && !streams.isDetached) {
    if (config_.tty) streams.relay.input = 0;
    spec.standardInput = 0;
  } else if (config_.openStdin) {
    input = Pipe::make();
    spec.standardInput = input.read.get();
    streams.heldInput = std::move(input.write);
    streams.relay.attachInput = streams.heldInput.get();
  }
  if (config_.tty && !streams.isDetached) takeWindowSize(spec);

  signals_.emplace();
  const std::unique_ptr<runtime::EarlyNetwork> early = std::move(early_);
  spec.earlyNetwork = early.get();
  spec.isCallerBrief = isDirect && config_.autoRemove;
  container_.emplace(runtime::start(spec));
  if (auto watch = network_->watch()) streams.relay.watches.push_back(std::move(*watch));
  recordStart(container_->pid());
  watchHealth(streams);
  watchTime(streams);
  streams.relay.out = std::move(out.read);
  streams.relay.err = std::move(err.read);
  streams.relay.forwardSignals = options.forwardSignals;
  streams.relay.isBackground = streams.isDetached;
  if (config_.tty) streams.relay.terminal = container_->takeTerminal();
  if (spec.isCallerBrief) dropVolatileMark(prepared.folder.get());
}

int Keeper::runAttached(KeepOptions options) {
  for (;; options.isNew = false) {
    reserveNetwork(options);
    Streams streams;
    std::optional<runtime::RawMode> raw;
    try {
      start(options, streams);
      writePidFile(options.pidFile, container_->pid());
      if (streams.relay.input >= 0) raw.emplace(streams.relay.input);
      streams.relay.keys = options.detachKeys;
      streams.relay.onDetach = [&] {
        raw.reset();
        options.detach();
      };
    } catch (Error& error) {
      container_.reset();
      recordFailure(error);
      throw;
    }
    const ExitStatus status = follow(streams);
    if (startsAgain(status)) continue;
    recordEnd(status);
    return status.code;
  }
}

int Keeper::runLeavable(KeepOptions options) {
  return runInForeground(
      [&](const Detach& detach) {
        options.detach = detach;
        return runAttached(options);
      },
      [&] { lock_.reset(); });  // the child has it now
}

// Everything that the process of its own does.
void Keeper::keepInBackground(const KeepOptions& options, const std::function<void(pid_t)>& ready) {
  KeepOptions later = options;
  later.isNew = false;
  for (bool isFirst = true;; isFirst = false) {
    if (!isFirst) reserveNetwork(later);
    Streams streams;
    streams.isDetached = true;
    try {
      start(options, streams);
      if (isFirst) ready(container_->pid());
      const ExitStatus status = follow(streams);
      if (startsAgain(status)) continue;
      return recordEnd(status);
    } catch (...) {
      const Error error = currentError();
      health_.reset();
      container_.reset();
      recordFailure(error);
      throw;
    }
  }
}

void Keeper::runDetached(const KeepOptions& options) {
  reserveNetwork(options);
  const std::string pid = spawnDaemon(
      [&](const Ready& ready) {
        keepInBackground(options, [&](pid_t first) { ready(std::to_string(first)); });
      },
      [&] {  // the monitor has all of it now
        lock_.reset();
        network_->forget();
        ports_->forget();
      });
  writePidFile(options.pidFile, std::stoi(pid));
}

ExitStatus Keeper::follow(Streams& streams) {
  streams.relay.onSignal = [this](int signal) {
    isInterrupted_ |=
        signal == SIGINT || signal == SIGTERM || signal == SIGHUP || signal == SIGQUIT;
  };
  const ExitStatus status = runtime::follow(*container_, *signals_, std::move(streams.relay));
  health_.reset();
  const bool isLate = deadline_ && deadline_->hasStruck();
  deadline_.reset();
  return isLate ? ExitStatus{kTimeoutStatus, status.signal} : status;
}

void Keeper::watchTime(Streams& streams) {
  if (config_.timeout <= 0) return;
  const int signal = config_.stopSignal.empty() ? SIGTERM : parseSignal(config_.stopSignal);
  deadline_.emplace(*container_, std::chrono::nanoseconds{config_.timeout}, signal,
                    std::chrono::seconds{config_.stopTimeout});
  streams.relay.watches.push_back({deadline_->fd(), [this] { deadline_->handle(); }});
}

void Keeper::watchHealth(Streams& streams) {
  auto plan = healthPlanOf(config_);
  if (!plan) return;
  health_.emplace(containers_, config_, std::move(*plan), *container_,
                  [this](const std::string& onFailure) { endUnhealthy(onFailure); });
  streams.relay.watches.push_back({health_->fd(), [this] { health_->handle(); }});
}

void Keeper::endUnhealthy(const std::string& onFailure) {
  if (onFailure.empty() || onFailure == "none") return;
  isRestartAsked_ = onFailure == "restart";
  const int stopSignal = config_.stopSignal.empty() ? SIGTERM : parseSignal(config_.stopSignal);
  health_->endContainer(onFailure == "kill" ? SIGKILL : stopSignal,
                        std::chrono::seconds{config_.stopTimeout});
}

bool Keeper::isRestartDue(const ExitStatus& status) {
  if (config_.autoRemove || isInterrupted_ || containers_.isStopRequested(config_.id)) return false;
  // `img update` and `img rename` may have changed it.
  if (const auto now = containers_.find(config_.id)) {
    config_.restart = now->config.restart;
    config_.name = now->config.name;
  }
  if (isRestartAsked_) return true;
  return isRestartWanted(config_.restart, status.code, state_.restartCount);
}

bool Keeper::startsAgain(const ExitStatus& status) {
  using std::chrono::duration_cast;
  using std::chrono::milliseconds;
  if (!isRestartDue(status)) return false;
  isRestartAsked_ = false;
  const auto ranFor = std::chrono::steady_clock::now() - started_;
  delay_ = restartDelay(delay_, duration_cast<milliseconds>(ranFor));
  ports_.reset();
  network_.reset();
  recordRestart(status);
  return waitForRestart(delay_);
}

// `stop` leaves a file in the record, and signals come through their descriptor.
bool Keeper::waitForRestart(std::chrono::milliseconds delay) {
  constexpr std::chrono::milliseconds kLook{50};
  const auto end = std::chrono::steady_clock::now() + delay;
  for (;;) {
    if (containers_.isStopRequested(config_.id)) return false;
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
        end - std::chrono::steady_clock::now());
    if (left.count() <= 0) return true;
    pollfd ready{signals_->fd(), POLLIN, 0};
    ::poll(&ready, 1, static_cast<int>(std::min(left, kLook).count()));
    for (int signal = signals_->take(); signal != 0; signal = signals_->take()) {
      if (signal != SIGWINCH && signal != SIGCONT) return false;
    }
  }
}

void Keeper::forgetNetwork() {
  state_.ports.clear();
  state_.address = state_.gateway = state_.macAddress = "";
  state_.prefixLength = 0;
}

void Keeper::recordRestart(const ExitStatus& status) {
  forgetNetwork();
  state_.status = Status::restarting;
  state_.pid = 0;
  state_.exitCode = status.code;
  state_.oomKilled = container_->outOfMemory();
  state_.finishedAt = store::timestampNow();
  state_.cgroups.clear();
  ++state_.restartCount;
  containers_.setState(config_.id, state_);
}

void Keeper::recordStart(pid_t pid) {
  state_.status = Status::running;
  state_.pid = pid;
  state_.startTicks = store::processStartTicks(pid).value_or(0);
  state_.bootId = store::bootId();
  state_.startedAt = store::timestampNow();
  state_.cgroups = container_->cgroupFolders();
  state_.healthStatus = healthPlanOf(config_) ? "starting" : "";
  state_.failingStreak = 0;
  state_.healthLog.clear();
  containers_.setState(config_.id, state_);
  started_ = std::chrono::steady_clock::now();
}

namespace {

std::string outOfMemoryText(const store::ContainerConfig& config) {
  std::string text = fmt::format("container {} ran out of memory and was killed", config.name);
  if (config.limits.memory) {
    text += fmt::format(" (--memory {})",
                        formatBinarySize(static_cast<std::uint64_t>(*config.limits.memory)));
  }
  return text;
}

}  // namespace

void Keeper::recordEnd(const ExitStatus& status) {
  if (ports_) ports_->stop();  // who reads that it has ended may take them
  forgetNetwork();
  state_.status = Status::exited;
  state_.pid = 0;
  state_.exitCode = status.code;
  state_.oomKilled = container_->outOfMemory();
  state_.finishedAt = store::timestampNow();
  state_.cgroups.clear();
  if (state_.oomKilled) log::warn("{}", outOfMemoryText(config_));
  if (!config_.autoRemove) {
    shiftBackQuietly(layout_, config_);
    containers_.changeState(config_.id, [&](store::ContainerState& state) {
      state_.healthStatus = state.healthStatus;
      state_.failingStreak = state.failingStreak;
      state_.healthLog = std::move(state.healthLog);
      state = state_;
      return true;
    });
    return;
  }
  letWaitersRead();
  removeRecord();
}

void Keeper::recordFailure(const Error& error) {
  try {
    if (config_.autoRemove) return removeRecord();
    const bool wasRunning = !state_.startedAt.empty();
    if (const auto known = containers_.find(config_.id); known && !wasRunning) {
      state_.startedAt = known->state.startedAt;
      state_.finishedAt = known->state.finishedAt;
    }
    forgetNetwork();
    state_.status = state_.startedAt.empty() ? Status::created : Status::exited;
    state_.pid = 0;
    state_.exitCode = error.exitCode().value_or(125);
    state_.error = error.cause();
    if (wasRunning) state_.finishedAt = store::timestampNow();
    containers_.setState(config_.id, state_);
  } catch (const Error& second) {
    // The first error is the one to show.
    log::warn("the record of container {}: {}", config_.id.substr(0, 12), second.cause());
  }
}

void Keeper::letWaitersRead() {
  const Fd folder = containers_.folder(config_.id);
  if (!sys::tryFstatat(folder.get(), kWaitersFile)) return;
  containers_.setState(config_.id, state_);
  const timespec pause{0, 1'000'000};
  for (int tries = 0; tries < 1000; ++tries) {
    if (FileLock::tryAcquire(folder.get(), kWaitersFile, FileLock::Mode::exclusive)) return;
    ::nanosleep(&pause, nullptr);
  }
}

void Keeper::removeRecord() {
  shareInit(layout_, config_);
  removeAnonymousVolumes(layout_, config_);  // the record goes last: recovery starts from it
  containers_.remove(config_.id, config_.name);
}

}  // namespace img::cli
