// The process that keeps a container for as long as it runs: it holds the record's lock, starts the
// command, follows it (runtime/monitor.h) and writes down how it ended. In the foreground that is
// the command line's own process; with -d a small process of its own, which the launcher leaves
// behind once the command runs. It is here and not in runtime/, because it writes the store's
// records.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "base/lock.h"
#include "cli/container_namespaces.h"
#include "cli/container_network.h"
#include "cli/container_ports.h"
#include "cli/container_spec.h"
#include "cli/foreground.h"
#include "cli/health.h"
#include "cli/run_deadline.h"
#include "runtime/early_network.h"
#include "runtime/monitor.h"
#include "store/containers.h"
#include "store/layout.h"

namespace img::cli {

struct KeepOptions {
  bool interactive = false;                      // standard input is the caller's
  bool attachOutput = true, attachError = true;  // the caller sees the output
  bool forwardSignals = true;
  // With a terminal: keys that leave the container to itself, and what is to be done then.
  runtime::DetachKeys detachKeys;
  Detach detach;
  bool isNew = false;  // the record was made for this start
  std::string pidFile, idFile;
};

class Keeper {
 public:
  // `lock` is the record's; it is given back when the keeper goes. `runRoot`: --runroot.
  Keeper(const store::Layout& layout, store::ContainerConfig config, FileLock lock,
         std::string runRoot);
  Keeper(const Keeper&) = delete;
  Keeper& operator=(const Keeper&) = delete;
  ~Keeper();

  // Those of the first start, opened by who has made sure that they are there.
  void giveLayers(OpenedLayers layers) { layers_ = std::move(layers); }
  // A network namespace for the first start. Not for containers that are kept by another process.
  void giveNetwork(std::unique_ptr<runtime::EarlyNetwork> network) { early_ = std::move(network); }

  // In this process: returns the command's exit status. Throws with the exit code of cli.md 3 when
  // it never ran; the record then says why, or is gone (--rm).
  int runAttached(KeepOptions options);
  // The same in a child of this process, which goes on as the keeper when the detach keys are
  // typed: 0 is returned then. For containers with a terminal that the caller types into.
  int runLeavable(KeepOptions options);
  // In a process of its own: returns when the command runs, throws as above.
  void runDetached(const KeepOptions& options);

 private:
  struct Streams;
  void reserveNetwork(const KeepOptions& options);
  void connect(pid_t pid, int netns);
  void keepInBackground(const KeepOptions& options, const std::function<void(pid_t)>& ready);
  void start(const KeepOptions& options, Streams& streams);
  ExitStatus follow(Streams& streams);
  void watchHealth(Streams& streams);
  void watchTime(Streams& streams);
  void endUnhealthy(const std::string& onFailure);
  // Waits for the moment of the next start; false: there is none.
  bool startsAgain(const ExitStatus& status);
  [[nodiscard]] bool isRestartDue(const ExitStatus& status);
  bool waitForRestart(std::chrono::milliseconds delay);
  void forgetNetwork();  // in the record
  void recordRestart(const ExitStatus& status);
  void recordStart(pid_t pid);
  void recordEnd(const ExitStatus& status);
  void recordFailure(const Error& error);
  void removeRecord();
  void letWaitersRead();

  const store::Layout& layout_;
  store::Containers containers_;
  store::ContainerConfig config_;
  std::optional<FileLock> lock_;
  std::string runRoot_;
  OpenedLayers layers_;
  std::unique_ptr<runtime::EarlyNetwork> early_;
  std::optional<ContainerNamespaces> namespaces_;  // its range of ids as well
  std::optional<ContainerNetwork> network_;        // outlives the container
  std::optional<PublishedPorts> ports_;
  store::ContainerState state_;
  std::optional<runtime::SignalCatcher> signals_;
  std::optional<runtime::Container> container_;
  std::optional<HealthWatch> health_;
  std::optional<RunDeadline> deadline_;
  bool isRestartAsked_ = false;  // by --health-on-failure
  bool isInterrupted_ = false;   // whoever sees it run wants it to end
  std::chrono::milliseconds delay_{};
  std::chrono::steady_clock::time_point started_;
};

// Whoever waits for the end of a container holds this file of its folder shared until he has read
// the final state: a keeper does not remove the record before that (but does not wait longer than a
// second either).
inline constexpr char kWaitersFile[] = "waiters";

}  // namespace img::cli
