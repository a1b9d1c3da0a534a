// What the commands do to a container that another process keeps: signal it, wait for its end, stop
// it, remove it. Processes are met by pidfd only, after their start time was compared: a pid may
// belong to somebody else by now.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "base/fd.h"
#include "base/lock.h"
#include "store/containers.h"
#include "store/layout.h"

namespace img::cli {

// The container's PID 1; nullopt when it is gone.
std::optional<Fd> openProcess(const store::ContainerState& state);

// Waits until PID 1 is gone; false when `timeoutMs` (-1: for ever) passed before.
bool waitForProcess(const Fd& pidfd, long long timeoutMs);

// Called for every process that a keeper has started before it went: usually one, or two when the
// keeper was just about to start the container again.
using EndProcess = std::function<void(const store::ContainerRecord& now, const Fd& process)>;
// Waits until the keeper has written everything down and gone: the lock, or nullopt when the
// container was removed.
std::optional<FileLock> waitForKeeper(const store::Containers& containers, const std::string& id,
                                      const EndProcess& end);
// The same with SIGKILL for what runs; it stays down.
std::optional<FileLock> killAndWait(const store::Containers& containers, const std::string& id);

// The lock of a container that does not run: one whose end is written down already may have a
// keeper for another moment. nullopt: it runs, or its keeper does not go.
std::optional<FileLock> holdUnlessRunning(const store::Containers& containers,
                                          const std::string& id);

// The state at the end. Waits for it; works for --rm containers too.
store::ContainerState waitForEnd(const store::Containers& containers,
                                 const store::ContainerRecord& record);

// Throws Kind::failed when it is not running. A frozen container is thawed for a deadly signal. One
// that would be started again stays down after SIGKILL and its stop signal.
void signalContainer(const store::Containers& containers, const store::ContainerRecord& record,
                     int signal);
// The same; false when it is not running.
bool signalIfRunning(const store::Containers& containers, const store::ContainerRecord& record,
                     int signal);

// Freezes or thaws it.
void setPaused(const store::Containers& containers, const store::ContainerRecord& record,
               bool paused);

struct StopRequest {
  std::optional<int> signal;                // else the container's own
  std::optional<long long> timeoutSeconds;  // -1: for ever; else the container's own
};
// Returns when the container is gone and its state written. True: only SIGKILL helped.
bool stopContainer(const store::Containers& containers, const store::ContainerRecord& record,
                   const StopRequest& request);

struct RemoveRequest {
  bool force = false;    // kill it if it runs
  bool volumes = false;  // its anonymous volumes too
};
void removeContainer(const store::Layout& layout, const store::ContainerRecord& record,
                     const RemoveRequest& request);

// Leftovers of keepers that died (reliability.md R-1): --rm containers and half-made records. Cheap
// when there is nothing, for every command that looks at containers.
void recoverContainers(const store::Layout& layout);
// And control groups without a keeper: looks at all control groups of the machine, so it is for
// commands that remove, and for ps.
void recoverEverything(const store::Layout& layout);

}  // namespace img::cli
