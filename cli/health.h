// Health checks (cli.md 10.7): what is to be checked, one check, and the keeper's timer that runs
// it again and again. There is no thread: everything hangs on one descriptor in the keeper's loop.
#pragma once

#include <chrono>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/fd.h"
#include "runtime/launch.h"
#include "store/containers.h"

namespace img::cli {

struct HealthPlan {
  std::vector<std::string> argv;
  std::chrono::nanoseconds interval{}, timeout{}, startPeriod{}, startInterval{};
  int retries = 3;
  std::string onFailure;  // none, kill, restart, stop
};

// Of --health-* and the image's HEALTHCHECK; nullopt: nothing is checked.
std::optional<HealthPlan> healthPlanOf(const store::ContainerConfig& config);
// The two as one, as `inspect` shows them.
std::optional<store::Healthcheck> healthcheckOf(const store::ContainerConfig& config);

using HealthResult = store::ContainerState::HealthResult;

// Writes a result into the state: a success makes it healthy, `retries` failures in a row make it
// unhealthy, and failures of a container that is still starting do not count in its start period.
// True: it has just become unhealthy.
bool addHealthResult(const HealthPlan& plan, const HealthResult& result, bool inStartPeriod,
                     store::ContainerState& state);

inline constexpr size_t kMaxHealthOutput = 4096;
inline constexpr size_t kMaxHealthResults = 5;

// One run of the check inside the container, with its environment, user and rights.
class [[nodiscard]] HealthCheck {
 public:
  // A command that cannot be run is a result, not an error.
  HealthCheck(const store::ContainerConfig& config, const HealthPlan& plan, pid_t pid, int pidfd);
  HealthCheck(const HealthCheck&) = delete;
  HealthCheck& operator=(const HealthCheck&) = delete;
  ~HealthCheck();

  [[nodiscard]] int pidfd() const { return process_ ? process_->pidfd() : -1; }  // -1: it has ended
  [[nodiscard]] int output() const { return output_ ? output_.get() : -1; }
  void readOutput();
  // After its end, or to end it: with all it started.
  HealthResult finish(bool isTimeout);

 private:
  std::chrono::nanoseconds timeout_;
  HealthResult result_;
  Fd output_;
  std::optional<runtime::Container> process_;
};

// The keeper's side. `fd` is readable when there is something to do.
class [[nodiscard]] HealthWatch {
 public:
  // Called when the container has become unhealthy.
  using OnUnhealthy = std::function<void(const std::string& onFailure)>;
  HealthWatch(const store::Containers& containers, const store::ContainerConfig& config,
              HealthPlan plan, const runtime::Container& container, OnUnhealthy onUnhealthy);

  [[nodiscard]] int fd() const { return events_.get(); }
  void handle();
  // No further check; one that runs is ended.
  void stop();
  // Instead of further checks: this signal, and SIGKILL when it does not help (-1: never).
  void endContainer(int signal, std::chrono::seconds patience);

 private:
  void armFor(std::chrono::nanoseconds delay);
  void armNext();
  void startCheck();
  void finishCheck(bool isTimeout);
  void watch(int fd) const;
  [[nodiscard]] bool isFrozen() const;
  [[nodiscard]] bool isInStartPeriod() const;

  const store::Containers& containers_;
  const store::ContainerConfig& config_;
  HealthPlan plan_;
  const runtime::Container& container_;
  OnUnhealthy onUnhealthy_;
  std::chrono::steady_clock::time_point started_;
  bool isStarting_ = true;
  bool isEnding_ = false;
  Fd events_;  // epoll: the timer, the end of a check, its output
  Fd timer_;
  std::optional<HealthCheck> check_;
};

}  // namespace img::cli
