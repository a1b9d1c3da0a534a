// `img attach`: the terminal of a running container that another process keeps (runtime/attach.h).
#include "runtime/attach.h"

#include <unistd.h>

#include <optional>
#include <tuple>

#include "base/error.h"
#include "base/lock.h"
#include "cli/container_commands.h"
#include "cli/container_control.h"
#include "cli/keeper.h"
#include "cli/options.h"
#include "runtime/terminal.h"
#include "store/containers.h"

namespace img::cli {
namespace {

struct AttachRequest {
  bool noStdin = false, forwardSignals = true;
  std::string keys = runtime::kDefaultDetachKeys;
};

void checkRunning(const store::ContainerRecord& record) {
  using Status = store::ContainerState::Status;
  if (!openProcess(record.state)) {
    throw Error::make(Kind::failed, "container {} is not running", record.config.name);
  }
  if (record.state.status == Status::paused) {
    throw Error::make(Kind::failed, "container {} is paused", record.config.name)
        .hint(fmt::format("img unpause {}", record.config.name));
  }
}

// The keeper closes the connection of one who takes nothing, and has room for a limited number.
void checkEnded(const store::ContainerRecord& record) {
  constexpr long long kLongestEndMs = 2000;
  const auto pidfd = openProcess(record.state);
  if (!pidfd || waitForProcess(*pidfd, kLongestEndMs)) return;
  throw Error::make(Kind::failed, "container {} runs on, but this terminal is not attached to it",
                    record.config.name)
      .why("too many are attached to it, or its output was not taken for ten seconds")
      .hint(fmt::format("img logs -f {} shows its output", record.config.name));
}

int attachTo(Context& context, const store::ContainerRecord& record, const AttachRequest& request) {
  checkRunning(record);
  const store::ContainerConfig& config = record.config;
  const bool hasInput = config.openStdin && !request.noStdin;
  const bool isTerminal = config.tty && hasInput;
  if (isTerminal && ::isatty(STDIN_FILENO) == 0) {
    throw Error{Kind::failed, "the input device is not a TTY"}.hint("--no-stdin shows the output");
  }
  const store::Containers containers{context.store()};
  const Fd folder = containers.folder(config.id);
  // Held until the end is known: the keeper of a --rm container waits for that (keeper.h).
  const FileLock waiting = FileLock::acquire(folder.get(), kWaitersFile, FileLock::Mode::shared);
  const runtime::SignalCatcher signals;
  runtime::AttachSession session;
  session.socket = runtime::connectAttach(folder.get());
  session.input = hasInput ? STDIN_FILENO : -1;
  session.out = context.out();
  session.err = context.err();
  session.isTerminal = isTerminal;
  if (isTerminal) session.keys = runtime::DetachKeys{request.keys};
  session.onSignal = [&](int signal) {
    // One that comes when the container has just ended is too late for it, and no failure of ours.
    if (request.forwardSignals) std::ignore = signalIfRunning(containers, record, signal);
  };
  std::optional<runtime::RawMode> raw;
  if (isTerminal) raw.emplace(STDIN_FILENO);
  const runtime::AttachEnd end = runtime::followAttach(std::move(session), signals);
  raw.reset();
  if (end == runtime::AttachEnd::detached) return 0;
  checkEnded(record);
  return waitForEnd(containers, record).exitCode;
}

int attachCommand(Context& context, const std::vector<std::string>& args) {
  AttachRequest request;
  Options options{context, "CONTAINER", "Join the terminal and output of a running container"};
  options.text("--detach-keys", request.keys, "KEYS", "Keys that leave it (ctrl-p,ctrl-q)")
      .flag("--no-stdin", request.noStdin, "Pass no input on")
      .flag("--sig-proxy", request.forwardSignals, "Pass signals on to the command (true)")
      .positionals(1, 1);
  if (!options.parse(args)) return 0;
  std::ignore = runtime::DetachKeys{request.keys};  // a mistake is told before anything else
  const store::Containers containers{context.store()};
  return attachTo(context, containers.get(options.words().front()), request);
}

}  // namespace

void addAttachCommand(CommandTable& table) {
  table.add({"attach,container attach", Group::containers,
             "Join the terminal and output of a running container", attachCommand});
}

}  // namespace img::cli
