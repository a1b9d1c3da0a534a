#include "cli/container_control.h"

#include <poll.h>

#include <algorithm>
#include <csignal>
#include <ctime>

#include "base/error.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/sys.h"
#include "cli/container_config.h"
#include "cli/container_group.h"
#include "cli/container_mounts.h"
#include "cli/frozen.h"
#include "cli/keeper.h"
#include "store/container_json.h"

namespace img::cli {
namespace {

using Status = store::ContainerState::Status;

void pauseMs(long milliseconds) {
  const timespec pause{0, milliseconds * 1'000'000};
  ::nanosleep(&pause, nullptr);
}

Error notRunning(const store::ContainerRecord& record) {
  return Error::make(Kind::failed, "container {} is not running", record.config.name);
}

// A frozen process gets no signal, not even SIGKILL with version 1 control groups.
void thawIfPaused(const store::ContainerRecord& record) {
  if (record.state.status == Status::paused) groupOf(record).thaw();
}

// Between two runs, or about to write down that one has ended: a busy machine gives it its time.
bool mayStartAgain(const store::Containers& containers, const store::ContainerRecord& record) {
  const bool isRestarted =
      !record.config.restart.policy.empty() || record.config.health.onFailure == "restart";
  return isRestarted && (record.state.isAlive() || containers.isHeld(record.config.id));
}

// Its keeper does not start it again.
void keepDown(const store::Containers& containers, const store::ContainerRecord& record) {
  if (mayStartAgain(containers, record)) containers.requestStop(record.config.id);
}

// For whoever has the lock now. A keeper takes the groups away and then writes the end down: one
// that still reads as alive was killed before either. An update at that very moment has added some.
bool isUnfinished(const store::Containers& containers, const store::ContainerRecord& record) {
  if (!record.state.error.empty() || containers.mayHaveLateGroups(record.config.id)) return true;
  const auto text = fs::tryReadFile(containers.folder(record.config.id).get(), "state.json");
  return text && store::parseContainerState(*text, "state.json").isAlive();
}

// Returns when it is gone; false: it was already. Somebody may freeze it at any moment.
bool killProcess(const store::ContainerRecord& record, const Fd& process) {
  constexpr int kLookMs = 100;
  const bool wasThere = sys::pidfdSendSignal(process.get(), SIGKILL);
  thawIfPaused(record);
  while (!waitForProcess(process, kLookMs)) {
    const runtime::Cgroup group = groupOf(record);
    if (group.isFrozen()) group.thaw();
  }
  return wasThere;
}

int stopSignalOf(const store::ContainerConfig& config) {
  return config.stopSignal.empty() ? SIGTERM : parseSignal(config.stopSignal);
}

}  // namespace

std::optional<Fd> openProcess(const store::ContainerState& state) {
  if (!state.isAlive() || state.pid <= 0) return std::nullopt;
  try {
    Fd pidfd = sys::pidfdOpen(state.pid);
    // Compared after the open: the descriptor stays with this process, the number would not.
    if (store::processStartTicks(state.pid) != state.startTicks) return std::nullopt;
    return pidfd;
  } catch (const Error& error) {
    if (error.errnum() != ESRCH) throw;
    return std::nullopt;
  }
}

bool waitForProcess(const Fd& pidfd, long long timeoutMs) {
  const std::int64_t end = sys::monotonicMs() + timeoutMs;
  for (;;) {
    const long long left = timeoutMs < 0 ? -1 : std::max<long long>(0, end - sys::monotonicMs());
    pollfd ready{pidfd.get(), POLLIN, 0};
    const int wait = static_cast<int>(std::min<long long>(left, 1'000'000));
    if (sys::check([&] { return ::poll(&ready, 1, wait); }, "poll") > 0) return true;
    if (left == 0) return false;
  }
}

std::optional<FileLock> waitForKeeper(const store::Containers& containers, const std::string& id,
                                      const EndProcess& end) {
  // The keeper needs about a millisecond after its container's end. Its lock cannot be polled for.
  for (int tries = 0;; ++tries) {
    // Looked for each time: the keeper may have been about to start it.
    if (const auto now = end ? containers.find(id) : std::nullopt) {
      if (const auto process = openProcess(now->state)) end(*now, *process);
    }
    try {
      if (auto lock = containers.tryHold(id)) return lock;
    } catch (const Error& error) {
      if (error.kind() != Kind::notFound && error.errnum() != ENOENT) throw;
      return std::nullopt;
    }
    pauseMs(tries < 20 ? 1 : 10);
  }
}

std::optional<FileLock> killAndWait(const store::Containers& containers, const std::string& id) {
  return waitForKeeper(containers, id, [&](const store::ContainerRecord& now, const Fd& process) {
    keepDown(containers, now);
    killProcess(now, process);
  });
}

std::optional<FileLock> holdUnlessRunning(const store::Containers& containers,
                                          const std::string& id) {
  constexpr int kTries = 1000;  // about ten seconds
  for (int tries = 0; tries < kTries; ++tries) {
    if (auto lock = containers.tryHold(id)) return lock;
    if (containers.get(id).state.isAlive()) return std::nullopt;
    pauseMs(tries < 20 ? 1 : 10);
  }
  return std::nullopt;
}

store::ContainerState waitForEnd(const store::Containers& containers,
                                 const store::ContainerRecord& record) {
  const std::string& id = record.config.id;
  const Fd folder = containers.folder(id);
  // Held until we have read the end: the keeper of a --rm container waits for that (keeper.h).
  const FileLock waiting = FileLock::acquire(folder.get(), kWaitersFile, FileLock::Mode::shared);
  if (const auto pidfd = openProcess(record.state)) waitForProcess(*pidfd, -1);
  for (;;) {
    const auto text = fs::tryReadFile(folder.get(), "state.json");
    if (!text) return containers.get(id).state;  // removed under our hands, or never started
    store::ContainerState state = store::parseContainerState(*text, "state.json");
    if (!state.isAlive()) return state;
    if (!containers.isHeld(id)) {
      // Its keeper died: the record's reader knows what that means.
      const auto last = containers.find(id);
      if (!last || !last->state.isAlive()) return last ? last->state : state;
    }
    pauseMs(1);
  }
}

void signalContainer(const store::Containers& containers, const store::ContainerRecord& record,
                     int signal) {
  if (!signalIfRunning(containers, record, signal)) throw notRunning(record);
}

bool signalIfRunning(const store::Containers& containers, const store::ContainerRecord& record,
                     int signal) {
  const bool isFinal = signal == SIGKILL || signal == stopSignalOf(record.config);
  if (isFinal) keepDown(containers, record);
  if (isFinal && record.state.status == Status::restarting) return true;
  const auto pidfd = openProcess(record.state);
  if (!pidfd || !sys::pidfdSendSignal(pidfd->get(), signal)) return false;
  if (signal == SIGKILL) thawIfPaused(record);
  return true;
}

void setPaused(const store::Containers& containers, const store::ContainerRecord& record,
               bool paused) {
  const FileLock freezer = lockFreezer(containers, record.config.id);
  // Read again: what held the lock before us may have paused or thawed it.
  const store::ContainerRecord now = containers.get(record.config.id);
  if (!openProcess(now.state)) throw notRunning(record);
  const Status wanted = paused ? Status::paused : Status::running;
  if (now.state.status == wanted) {
    throw Error::make(Kind::failed, "container {} is {}", record.config.name,
                      paused ? "paused already" : "not paused");
  }
  const runtime::Cgroup group = groupOf(now);
  paused ? group.freeze() : group.thaw();
  containers.changeState(record.config.id, [&](store::ContainerState& state) {
    if (!state.isAlive()) return false;  // it ended meanwhile
    state.status = wanted;
    return true;
  });
}

bool stopContainer(const store::Containers& containers, const store::ContainerRecord& record,
                   const StopRequest& request) {
  if (mayStartAgain(containers, record)) {
    containers.requestStop(record.config.id);
  } else if (!record.state.isAlive()) {
    return false;
  }
  bool isKilled = false;
  waitForKeeper(
      containers, record.config.id, [&](const store::ContainerRecord& now, const Fd& process) {
        const long long seconds = request.timeoutSeconds.value_or(now.config.stopTimeout);
        sys::pidfdSendSignal(process.get(), request.signal.value_or(stopSignalOf(now.config)));
        thawIfPaused(now);
        if (!waitForProcess(process, seconds < 0 ? -1 : seconds * 1000)) {
          isKilled = killProcess(now, process);
        }
      });
  return isKilled;
}

void removeContainer(const store::Layout& layout, const store::ContainerRecord& record,
                     const RemoveRequest& request) {
  const store::Containers containers{layout};
  const std::string& id = record.config.id;
  std::optional<FileLock> lock;
  if (request.force) {
    keepDown(containers, record);
    lock = killAndWait(containers, id);
    if (!lock) return;  // its keeper removed it
  } else {
    lock = holdUnlessRunning(containers, id);
  }
  if (!lock) {
    throw Error::make(Kind::busy, "cannot remove container {}: it is running", record.config.name)
        .code("container-running")
        .hint(fmt::format("stop it first (img stop {0}), or img rm -f {0}", record.config.name));
  }
  if (isUnfinished(containers, record)) dropCgroup(record);
  // The record goes last: what a killed command leaves can then be removed again.
  if (request.volumes) removeAnonymousVolumes(layout, record.config);
  containers.remove(id);
}

void recoverContainers(const store::Layout& layout) {
  store::Containers{layout}.recover([&](const store::ContainerConfig& config) {
    dropCgroup({config, {}});
    removeAnonymousVolumes(layout, config);
  });
}

void recoverEverything(const store::Layout& layout) {
  recoverContainers(layout);
  dropStrayCgroups(layout);
}

}  // namespace img::cli
