// `img exec`: a further command in a running container.
#include "runtime/exec.h"

#include <unistd.h>

#include "base/error.h"
#include "base/fs.h"
#include "base/sys.h"
#include "base/text.h"
#include "cli/container_commands.h"
#include "cli/container_config.h"
#include "cli/container_control.h"
#include "cli/container_spec.h"
#include "cli/daemon.h"
#include "cli/foreground.h"
#include "cli/options.h"
#include "runtime/monitor.h"
#include "runtime/terminal.h"
#include "store/containers.h"

namespace img::cli {
namespace {

struct ExecRequest {
  bool interactive = false, tty = false, detach = false, privileged = false;
  std::vector<std::string> env, envFiles;
  std::string workdir, user, detachKeys = runtime::kDefaultDetachKeys;
  std::vector<std::string> words;
};

runtime::Spec specFor(const store::ContainerConfig& config, const ExecRequest& request) {
  runtime::Spec spec;
  spec.argv.assign(request.words.begin() + 1, request.words.end());
  spec.env = environmentOf(config, request.tty);
  for (const std::string& path : request.envFiles) {
    spec.env = mergeEnv(std::move(spec.env), parseEnvFile(fs::readFile(AT_FDCWD, path), path));
  }
  spec.env = mergeEnv(std::move(spec.env), request.env);
  spec.cwd = request.workdir.empty() ? config.cwd : request.workdir;
  spec.user = request.user.empty() ? config.user : request.user;
  spec.groupAdd = config.groupAdd;
  spec.tty = request.tty;
  spec.umask = static_cast<mode_t>(config.umask);
  store::ContainerConfig rights = config;
  rights.privileged = config.privileged || request.privileged;
  applyRights(rights, spec);
  return spec;
}

int runAttached(const Fd& pidfd, pid_t pid, runtime::Spec spec, const ExecRequest& request,
                const Detach& detach) {
  runtime::Relay relay;
  if (request.tty) {
    relay.copyOut = 1;
    if (request.interactive) relay.input = 0;
    takeWindowSize(spec);
  } else {
    spec.standardInput = request.interactive ? 0 : -1;
    spec.standardOutput = 1;
    spec.standardError = 2;
  }
  const runtime::SignalCatcher signals;
  runtime::Container process = runtime::execute(pidfd.get(), pid, spec);
  if (request.tty) relay.terminal = process.takeTerminal();
  std::optional<runtime::RawMode> raw;
  if (relay.input >= 0) raw.emplace(relay.input);
  relay.keys = runtime::DetachKeys{request.detachKeys};
  relay.onDetach = [&] {
    raw.reset();
    detach();
  };
  return runtime::follow(process, signals, std::move(relay)).code;
}

void runDetached(const Fd& pidfd, pid_t pid, const runtime::Spec& spec) {
  spawnDaemon(
      [&](const Ready& ready) {
        const runtime::SignalCatcher signals;
        runtime::Container process = runtime::execute(pidfd.get(), pid, spec);
        runtime::Relay relay;
        if (spec.tty) relay.terminal = process.takeTerminal();
        ready("");
        runtime::follow(process, signals, std::move(relay));
      },
      [] {});
}

int execute(Context& context, const ExecRequest& request) {
  const store::ContainerRecord record =
      store::Containers{context.store()}.get(request.words.front());
  const auto pidfd = openProcess(record.state);
  if (!pidfd || record.state.status == store::ContainerState::Status::paused) {
    throw Error::make(Kind::failed, "container {} is {}", record.config.name,
                      pidfd ? "paused" : "not running")
        .exitCode(1);
  }
  runtime::Spec spec = specFor(record.config, request);
  try {
    const auto run = [&](const Detach& detach) {
      return runAttached(*pidfd, record.state.pid, std::move(spec), request, detach);
    };
    // Only who types into a terminal can leave it.
    if (!request.detach && request.tty && request.interactive) return runInForeground(run, [] {});
    if (!request.detach) return run([] {});
    runDetached(*pidfd, record.state.pid, spec);
    return 0;
  } catch (Error& error) {
    // The container may have ended between the look and the entry.
    if (error.exitCode() == 125 && waitForProcess(*pidfd, 0)) error.exitCode(1);
    throw;
  }
}

int execCommand(Context& context, const std::vector<std::string>& args) {
  ExecRequest request;
  Options options{context, "CONTAINER COMMAND [ARG...]", "Run a command in a running container"};
  options.flag("-i,--interactive", request.interactive, "Keep standard input open")
      .flag("-t,--tty", request.tty, "Give the command a terminal")
      .flag("-d,--detach", request.detach, "Run it in the background")
      .list("-e,--env", request.env, "K[=V]", "Set a variable, or pass the caller's")
      .list("--env-file", request.envFiles, "FILE", "Read variables from a file")
      .text("-w,--workdir", request.workdir, "DIR", "Working directory")
      .text("-u,--user", request.user, "USER[:GROUP]", "User, by name or number")
      .text("--detach-keys", request.detachKeys, "KEYS", "Keys that leave it (ctrl-p,ctrl-q)")
      .flag("--privileged", request.privileged, "All capabilities, no filter")
      .stopAtPositional()
      .positionals(2, kAnyNumber);
  if (!options.parse(args)) return 0;
  request.words = options.words();
  if (request.tty && request.interactive && !request.detach && ::isatty(0) == 0) {
    throw Error{Kind::failed, "the input device is not a TTY"}.hint("drop -t in CI").exitCode(1);
  }
  return execute(context, request);
}

}  // namespace

void addExecCommand(CommandTable& table) {
  table.add({"exec,container exec", Group::containers, "Run a command in a running container",
             execCommand});
}

}  // namespace img::cli
