// `img wait`: until containers end, or are in one of the states that are asked for.
#include <algorithm>
#include <array>
#include <ctime>

#include "base/error.h"
#include "base/text.h"
#include "cli/container_commands.h"
#include "cli/container_control.h"
#include "cli/options.h"
#include "store/containers.h"

namespace img::cli {
namespace {

// The words of podman and of docker's API; "stopped", "not-running": has ended or never ran.
constexpr auto kConditions = std::to_array<std::string_view>(
    {"created", "running", "paused", "restarting", "exited", "stopped", "not-running", "next-exit",
     "healthy", "unhealthy", "removed"});

struct WaitRequest {
  std::vector<std::string> conditions;  // one of them is enough; none: stopped
  std::optional<long long> interval;    // nanoseconds between two looks

  [[nodiscard]] bool wants(std::string_view condition) const {
    return std::find(conditions.begin(), conditions.end(), condition) != conditions.end();
  }
  // The end can be waited for without looking again and again, and its exit code is certain.
  [[nodiscard]] bool isForEnd(const store::ContainerState& state) const {
    return std::all_of(conditions.begin(), conditions.end(), [&](const std::string& condition) {
      return condition == "exited" || condition == "stopped" || condition == "not-running" ||
             (condition == "next-exit" && state.isAlive());
    });
  }
};

void addCondition(WaitRequest& request, const std::string& text) {
  for (std::string& word : text::split(text, ',')) {
    if (std::find(kConditions.begin(), kConditions.end(), word) == kConditions.end()) {
      throw Error::make(Kind::usage, "--condition: unknown state {}", text::quote(word))
          .hint("states are " + text::join({kConditions.begin(), kConditions.end()}, ", "));
    }
    request.conditions.push_back(std::move(word));
  }
}

bool isReached(const WaitRequest& request, const store::ContainerState& state,
               const store::ContainerState& first) {
  if (request.wants(store::statusName(state.status))) return true;
  if (!state.healthStatus.empty() && request.wants(state.healthStatus)) return true;
  const bool isStopped = !state.isAlive();
  if (isStopped && (request.wants("stopped") || request.wants("not-running"))) return true;
  // Docker's "next-exit": one that has ended before does not count.
  return isStopped && request.wants("next-exit") && !state.finishedAt.empty() &&
         state.finishedAt != first.finishedAt;
}

void pauseFor(const WaitRequest& request) {
  constexpr long long kNanoseconds = 1'000'000'000;
  const long long length = request.interval.value_or(20'000'000);
  const timespec pause{length / kNanoseconds, length % kNanoseconds};
  ::nanosleep(&pause, nullptr);
}

int waitForRemoval(const store::Containers& containers, const store::ContainerRecord& record,
                   const WaitRequest& request) {
  const int exitCode = waitForEnd(containers, record).exitCode;
  while (containers.find(record.config.id)) pauseFor(request);
  return exitCode;
}

int waitForCondition(const store::Containers& containers, const store::ContainerRecord& record,
                     const WaitRequest& request) {
  if (request.conditions == std::vector<std::string>{"removed"}) {
    return waitForRemoval(containers, record, request);
  }
  store::ContainerState state = record.state;
  while (!isReached(request, state, record.state)) {
    pauseFor(request);
    const auto now = containers.find(record.config.id);
    if (!now && request.wants("removed")) return state.exitCode;
    if (!now) throw Error::make(Kind::notFound, "container {} was removed", record.config.name);
    state = now->state;
  }
  return state.exitCode;
}

int waitContainers(Context& context, const std::vector<std::string>& args) {
  WaitRequest request;
  Options options{context, "CONTAINER...", "Wait until containers end and print their exit codes"};
  options
      .value("--condition", "STATE", "Wait for this state instead: running, healthy, removed, ...",
             [&](const std::string& text) { addCondition(request, text); })
      .duration("-i,--interval", request.interval, "Time between two looks at a condition (20ms)")
      .positionals(1, kAnyNumber);
  if (!options.parse(args)) return 0;
  const store::Containers containers{context.store()};
  for (const std::string& name : options.words()) {
    try {
      const store::ContainerRecord record = containers.get(name);
      const int exitCode = request.isForEnd(record.state)
                               ? waitForEnd(containers, record).exitCode
                               : waitForCondition(containers, record, request);
      context.print(std::to_string(exitCode) + "\n");
    } catch (const Error& error) {
      context.fail(error);
    }
  }
  return context.status();
}

}  // namespace

void addWaitCommand(CommandTable& table) {
  table.add(
      {"wait,container wait", Group::containers, "Wait for the end of containers", waitContainers});
}

}  // namespace img::cli
