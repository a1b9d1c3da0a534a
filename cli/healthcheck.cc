// `img healthcheck run`: one check now, and its result written down as the keeper does.
#include <poll.h>

#include "base/error.h"
#include "base/sys.h"
#include "base/text.h"
#include "cli/container_commands.h"
#include "cli/container_control.h"
#include "cli/health.h"
#include "cli/options.h"
#include "store/containers.h"

namespace img::cli {
namespace {

HealthResult runCheck(const store::ContainerRecord& record, const HealthPlan& plan,
                      const Fd& process) {
  HealthCheck check{record.config, plan, record.state.pid, process.get()};
  const std::int64_t deadline =
      sys::monotonicMs() +
      std::chrono::duration_cast<std::chrono::milliseconds>(plan.timeout).count();
  while (check.pidfd() >= 0) {
    const std::int64_t left = deadline - sys::monotonicMs();
    if (left <= 0) return check.finish(true);
    pollfd polls[] = {{check.pidfd(), POLLIN, 0}, {check.output(), POLLIN, 0}};
    const int wait = static_cast<int>(std::min<std::int64_t>(left, 1'000'000));
    sys::check([&] { return ::poll(polls, 2, wait); }, "poll");
    check.readOutput();
    if (polls[0].revents != 0) break;
  }
  return check.finish(false);
}

int checkHealth(Context& context, const std::vector<std::string>& args) {
  Options options{context, "CONTAINER", "Run the health check of a container"};
  options.positionals(1, 1);
  if (!options.parse(args)) return 0;
  const store::Containers containers{context.store()};
  const store::ContainerRecord record = containers.get(options.words().front());
  const auto plan = healthPlanOf(record.config);
  if (!plan) {
    throw Error::make(Kind::failed, "container {} has no health check", record.config.name)
        .hint("--health-cmd of run, or HEALTHCHECK in the Dockerfile")
        .exitCode(125);
  }
  const auto process = openProcess(record.state);
  if (!process || record.state.status != store::ContainerState::Status::running) {
    throw Error::make(Kind::failed, "container {} is {}", record.config.name,
                      process ? "paused" : "not running")
        .exitCode(125);
  }
  const HealthResult result = runCheck(record, *plan, *process);
  containers.changeState(record.config.id, [&](store::ContainerState& state) {
    if (!state.isAlive()) return false;
    addHealthResult(*plan, result, false, state);
    return true;
  });
  if (result.exitCode == 0) return 0;
  if (!result.output.empty()) context.notice(result.output + "\n");
  context.print("unhealthy\n");
  return 1;
}

}  // namespace

void addHealthcheckCommand(CommandTable& table) {
  table.add(
      {"healthcheck run", Group::containers, "Run the health check of a container", checkHealth});
}

}  // namespace img::cli
