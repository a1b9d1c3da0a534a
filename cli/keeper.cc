#include "cli/keeper.h"

#include <unistd.h>

#include <ctime>

#include "base/fs.h"
#include "base/log.h"
#include "base/sys.h"
#include "cli/container_mounts.h"
#include "cli/container_spec.h"
#include "cli/daemon.h"
#include "runtime/terminal.h"

namespace img::cli {

using Status = store::ContainerState::Status;

// What the container's standard streams are, and our ends of them.
struct Keeper::Streams {
  bool isDetached = false;
  Fd folder;  // of the record, for the log
  std::optional<runtime::LogWriter> log;
  runtime::Relay relay;
  Fd heldInput;  // -d -i: nobody writes, but it stays open
};

namespace {

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
  if (config_.autoRemove) containers_.markAutoRemove(config_.id);
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
  PreparedContainer prepared = prepareContainer(layout_, config_, config_.autoRemove);
  runtime::Spec& spec = prepared.spec;
  network_->prepare(spec);
  if (network_->isAttached() || ports_->isNeeded()) {
    spec.onCreated = [this](pid_t pid, int netns) { connect(pid, netns); };
  }
  // Our copies of the container's ends go at the end of this function: then only the container
  // holds them.
  Pipe out;
  Pipe err;
  Pipe input;
  // A foreground container that leaves nothing behind needs no log: it gets the caller's own
  // streams.
  const bool isDirect = !streams.isDetached && !config_.tty && config_.autoRemove;
  if (!isDirect) {
    streams.folder = prepared.folder.duplicate();
    streams.log.emplace(streams.folder.get());
    streams.relay.log = &*streams.log;
  }
  if (!streams.isDetached && options.attachOutput) {
    streams.relay.copyOut = spec.standardOutput = 1;
    streams.relay.copyErr = spec.standardError = 2;
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
  }
  if (config_.tty && !streams.isDetached) takeWindowSize(spec);

  signals_.emplace();
  container_.emplace(runtime::start(spec));
  if (auto watch = network_->watch()) streams.relay.watches.push_back(std::move(*watch));
  recordStart(container_->pid());
  streams.relay.out = std::move(out.read);
  streams.relay.err = std::move(err.read);
  streams.relay.forwardSignals = options.forwardSignals;
  if (config_.tty) streams.relay.terminal = container_->takeTerminal();
}

int Keeper::runAttached(const KeepOptions& options) {
  reserveNetwork(options);
  Streams streams;
  std::optional<runtime::RawMode> raw;
  try {
    start(options, streams);
    writePidFile(options.pidFile, container_->pid());
    if (streams.relay.input >= 0) raw.emplace(streams.relay.input);
  } catch (Error& error) {
    container_.reset();
    recordFailure(error);
    throw;
  }
  const ExitStatus status = runtime::follow(*container_, *signals_, std::move(streams.relay));
  recordEnd(status);
  return status.code;
}

void Keeper::runDetached(const KeepOptions& options) {
  reserveNetwork(options);
  const std::string pid = spawnDaemon(
      [&](const Ready& ready) {
        Streams streams;
        streams.isDetached = true;
        try {
          start(options, streams);
          ready(std::to_string(container_->pid()));
          recordEnd(runtime::follow(*container_, *signals_, std::move(streams.relay)));
        } catch (...) {
          const Error error = currentError();
          container_.reset();
          recordFailure(error);
          throw;
        }
      },
      [&] {  // the monitor has all of it now
        lock_.reset();
        network_->forget();
        ports_->forget();
      });
  writePidFile(options.pidFile, std::stoi(pid));
}

void Keeper::recordStart(pid_t pid) {
  state_.status = Status::running;
  state_.pid = pid;
  state_.startTicks = store::processStartTicks(pid).value_or(0);
  state_.bootId = store::bootId();
  state_.startedAt = store::timestampNow();
  containers_.setState(config_.id, state_);
}

void Keeper::recordEnd(const ExitStatus& status) {
  ports_->stop();  // who reads that it has ended may take them
  state_.ports.clear();
  state_.status = Status::exited;
  state_.pid = 0;
  state_.address = state_.gateway = state_.macAddress = "";
  state_.prefixLength = 0;
  state_.exitCode = status.code;
  state_.oomKilled = container_->outOfMemory();
  state_.finishedAt = store::timestampNow();
  if (state_.oomKilled) log::warn("container {} ran out of memory and was killed", config_.name);
  if (!config_.autoRemove) return containers_.setState(config_.id, state_);
  letWaitersRead();
  removeRecord();
}

void Keeper::recordFailure(const Error& error) {
  try {
    if (config_.autoRemove) return removeRecord();
    const bool wasRunning = state_.status == Status::running;
    state_.status = wasRunning ? Status::exited : Status::created;
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
  containers_.remove(config_.id);
}

}  // namespace img::cli
