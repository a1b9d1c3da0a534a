// RUN: a container over the layers so far, a fresh upper, output to the progress
// (dockerfile.md 1.9, 3.5-3.7, 6.2).
#include <linux/mount.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <deque>

#include "base/fs.h"
#include "base/sys.h"
#include "base/text.h"
#include "builder/layer_step.h"
#include "runtime/command.h"
#include "runtime/launch.h"
#include "runtime/security.h"
#include "store/rootfs.h"

namespace img::builder {
namespace {

constexpr char kScriptPath[] = "/dev/pipes/script";  // a fixed name instead of the delimiter (Q9)
constexpr size_t kTailLines = 20;
constexpr std::chrono::milliseconds kGrace{2000};

// What a RUN executes, after its heredocs have been taken apart.
struct RunCommand {
  std::vector<std::string> argv;
  std::string script;  // not empty: a file with a #! line that argv runs
  bool isShellForm = true;
};

RunCommand resolveCommand(const parser::RunInstruction& run, const store::ImageConfig& config) {
  if (run.command.exec) return {run.command.words, {}, false};
  std::string text = parser::shellText(run);
  if (run.isHeredocScript && text.starts_with("#!")) {
    return {commandLine({false, {kScriptPath}}, config), std::move(text)};
  }
  return {commandLine({false, {std::move(text)}}, config), {}};
}

bool isProxyName(std::string_view name) {
  static constexpr std::string_view kNames[] = {"http_proxy", "https_proxy", "ftp_proxy",
                                                "no_proxy", "all_proxy"};
  return std::find(std::begin(kNames), std::end(kNames), text::lower(name)) != std::end(kNames);
}

// Predefined proxy arguments: both spellings, not in keys or history (3.3.1).
void addProxies(std::vector<std::string>& env, const Scope& scope, const StageState& stage) {
  for (const auto& [name, value] : scope.request->buildArgs) {
    if (!isProxyName(name)) continue;
    for (const std::string& spelling : {text::lower(name), text::upper(name)}) {
      if (stage.variables.find(spelling) == nullptr) setEnv(env, spelling, value);
    }
  }
}

struct RunSettings {
  RunCommand command;
  std::vector<std::string> env;     // what counts for the key
  std::vector<std::string> runEnv;  // with proxies
  LayerRef init;                    // see StageState
  std::string cwd, user, hostname, network;
  bool isInsecure = false;
};

bool isAllowed(const Scope& scope, std::string_view entitlement) {
  const auto& allowed = scope.request->allow;
  return std::find(allowed.begin(), allowed.end(), entitlement) != allowed.end();
}

std::string networkOf(const Scope& scope, const parser::Instruction& syntax,
                      const parser::RunInstruction& run) {
  const std::string& whole = scope.request->network;
  if (!run.network || *run.network == "default") return whole == "default" ? "none" : whole;
  if (*run.network == "host" && whole != "host" && !isAllowed(scope, "network.host")) {
    throw instructionError(scope, syntax,
                           "--network=host is not allowed; pass --allow network.host", "--network");
  }
  return *run.network;
}

RunSettings settingsOf(const Workshop& shop, const parser::Step& step, const StageState& stage) {
  const auto& run = std::get<parser::RunInstruction>(step.body);
  RunSettings settings;
  settings.command = resolveCommand(run, stage.config);
  settings.env = stage.variables.asEnv();
  if (stage.variables.find("PATH") == nullptr) setEnv(settings.env, "PATH", runtime::kDefaultPath);
  settings.cwd = stage.config.workingDir.empty() ? "/" : stage.config.workingDir;
  settings.user = stage.config.user;
  const std::string* hostname = shop.scope.findBuildArg("BUILDKIT_SANDBOX_HOSTNAME");
  settings.hostname = hostname != nullptr ? *hostname : "buildkitsandbox";
  settings.network = networkOf(shop.scope, step.syntax, run);
  settings.isInsecure = run.security && *run.security == "insecure";
  if (settings.isInsecure && !isAllowed(shop.scope, "security.insecure")) {
    throw instructionError(shop.scope, step.syntax,
                           "--security=insecure is not allowed; pass --allow security.insecure",
                           "--security");
  }
  if (!run.mounts.empty()) {
    throw instructionError(shop.scope, step.syntax, "--mount is not part of this version",
                           "--mount");
  }
  if (!run.devices.empty()) {
    throw instructionError(shop.scope, step.syntax, "--device is not part of this version",
                           "--device");
  }
  return settings;
}

Digest keyOf(const Workshop& shop, const RunSettings& settings, const StageState& stage) {
  Hasher hasher = startKey("run", stage.snapshot.key);
  const auto list = [&](const std::vector<std::string>& words) {
    hasher.field(std::uint64_t{words.size()});
    for (const std::string& word : words) hasher.field(word);
  };
  list(settings.command.argv);
  hasher.field(settings.command.script);
  list(settings.env);
  for (const std::string* text :
       {&settings.cwd, &settings.user, &settings.hostname, &settings.network})
    hasher.field(*text);
  hasher.field(std::uint64_t{settings.isInsecure});
  hasher.field(std::uint64_t{shop.scope.request->addHosts.size()});
  for (const auto& [host, address] : shop.scope.request->addHosts) hasher.field(host);
  addEpoch(hasher, shop.scope);
  return hasher.finish();
}

// The parts of the key by name (cli.md 9.3).
void addInputs(InputList& list, const RunSettings& settings, const StageState& stage,
               const Scope& scope) {
  std::vector<std::string> argv = settings.command.argv;
  if (settings.command.isShellForm && settings.command.script.empty()) {
    list.add("instruction", "RUN", argv.back());
    argv.pop_back();
    list.add("shell", "", text::join(argv, " "));
  } else {
    list.add("instruction", "RUN", text::join(argv, " ") + " " + settings.command.script);
  }
  for (const std::string& entry : settings.env) {
    const size_t equals = entry.find('=');
    const std::string name = entry.substr(0, equals);
    const bool isArg = std::find(stage.args.begin(), stage.args.end(), name) != stage.args.end() &&
                       std::find(stage.config.env.begin(), stage.config.env.end(), entry) ==
                           stage.config.env.end();
    list.addVariable(isArg ? "arg" : "env", name, std::string_view{entry}.substr(equals + 1));
  }
  list.add("workdir", "", settings.cwd);
  list.add("user", "", settings.user);
  list.add("hostname", "", settings.hostname);
  list.add("network", "", settings.network);
  list.add("security", "", settings.isInsecure ? "insecure" : "sandbox");
  for (const auto& [host, address] : scope.request->addHosts) list.add("host", host, "added");
}

// `RUN |2 a=1 b= /bin/sh -c ls` (7.4).
std::string createdBy(const RunSettings& settings, const StageState& stage) {
  std::string out = "RUN ";
  if (!stage.args.empty()) {
    out += fmt::format("|{} ", stage.args.size());
    for (const std::string& name : stage.args) {
      const std::string* value = stage.variables.find(name);
      out += fmt::format("{}={} ", name, value != nullptr ? *value : "");
    }
  }
  return out + text::join(settings.command.argv, " ");
}

// SigCgt of /proc/PID/status: a bit per signal that has a handler (proc(5)).
bool catchesTerm(pid_t pid) {
  const auto status = fs::tryReadFile(AT_FDCWD, fmt::format("/proc/{}/status", pid));
  const size_t at = status ? status->find("SigCgt:") : std::string::npos;
  if (at == std::string::npos) return false;
  const unsigned long long caught = std::strtoull(status->c_str() + at + 7, nullptr, 16);
  return ((caught >> (SIGTERM - 1)) & 1) != 0;
}

// Whether the output speaks of a network that was not there.
bool missesNetwork(const std::vector<std::string>& lines) {
  static constexpr std::string_view kSigns[] = {"resolve",
                                                "resolving",
                                                "Network is unreachable",
                                                "Name or service not known",
                                                "bad address",
                                                "getaddrinfo",
                                                "EAI_AGAIN",
                                                "no such host"};
  return std::any_of(lines.begin(), lines.end(), [](const std::string& line) {
    return std::any_of(std::begin(kSigns), std::end(kSigns),
                       [&](std::string_view sign) { return line.find(sign) != std::string::npos; });
  });
}

// Passes output on and keeps its last lines for the error.
class OutputTail {
 public:
  void add(std::string_view bytes) {
    for (const char c : bytes) {
      if (c == '\n') {
        close();
      } else if (line_.size() < kMaxLine) {
        line_ += c;
      }
    }
  }
  std::vector<std::string> lines() {
    if (!line_.empty()) close();
    return {lines_.begin(), lines_.end()};
  }

 private:
  static constexpr size_t kMaxLine = 2000;
  void close() {
    lines_.push_back(std::move(line_));
    line_.clear();
    if (lines_.size() > kTailLines) lines_.pop_front();
  }
  std::deque<std::string> lines_;
  std::string line_;
};

std::string hostsFile(const Scope& scope, const std::string& hostname) {
  std::string text =
      fmt::format("127.0.0.1\tlocalhost {}\n::1\tlocalhost ip6-localhost ip6-loopback\n", hostname);
  for (const auto& [host, address] : scope.request->addHosts)
    text += fmt::format("{}\t{}\n", address, host);
  return text;
}

class RunExecution {
 public:
  RunExecution(Workshop& shop, const RunSettings& settings, const StepLabel& label)
      : shop_(shop), settings_(settings), label_(label) {}

  Task<> run(Layer& layer, const Snapshot& below) {
    runtime::Spec spec = makeSpec(layer, below);
    Pipe output = Pipe::make();
    spec.standardOutput = output.write.get();
    spec.standardError = output.write.get();
    runtime::Container container = start(spec);
    output.write.reset();
    std::exception_ptr trouble;
    try {
      co_await follow(container, output.read);
    } catch (...) {
      trouble = std::current_exception();
    }
    if (trouble) {
      co_await endGently(container);
      std::rethrow_exception(trouble);
    }
    const ExitStatus status = container.wait();
    if (status.code != 0) throw failure(status, container.outOfMemory());
  }

 private:
  runtime::Spec makeSpec(const Layer& layer, const Snapshot& below) {
    runtime::Spec spec;
    spec.argv = settings_.command.argv;
    spec.env = settings_.runEnv;
    spec.cwd = settings_.cwd;
    spec.user = settings_.user;
    spec.hostname = settings_.hostname;
    spec.network = settings_.network == "host" ? runtime::Network::host : runtime::Network::none;
    spec.capabilities = runtime::kDefaultCapabilities;
    spec.privileged = settings_.isInsecure;
    spec.filesReadOnly = true;
    spec.files = {
        {"/etc/hosts", hostsFile(shop_.scope, settings_.hostname)},
        {"/etc/resolv.conf", settings_.network == "host"
                                 ? fs::tryReadFile(AT_FDCWD, "/etc/resolv.conf").value_or("")
                                 : std::string{}}};
    if (!settings_.command.script.empty()) addScript(spec, layer);
    store::RootfsSpec rootfs;
    rootfs.layers = openFolders(shop_.layout, below);
    rootfs.upper = layer.folder.get();
    rootfs.isVolatile = true;
    folders_.push_back(sys::openDirectory(layer.work->fd(), "work"));
    rootfs.work = folders_.back().get();
    folders_.push_back(openInit(layer));
    rootfs.init = folders_.back().get();
    spec.mountRootfs = [rootfs] { return store::mountRootfs(rootfs); };
    return spec;
  }

  // The init layer of an earlier step, when the image still lacks the same mount points.
  Fd openInit(const Layer& layer) const {
    const Layer& owner = settings_.init ? *settings_.init : layer;
    sys::tryMkdirat(owner.work->fd(), "init", 0755);
    return sys::openDirectory(owner.work->fd(), "init");
  }

  // The script lies beside the upper, so it is never part of the layer.
  void addScript(runtime::Spec& spec, const Layer& layer) const {
    const Fd file = sys::openat(layer.work->fd(), "script", O_WRONLY | O_CREAT | O_EXCL, 0700);
    writeAll(file.get(), settings_.command.script, "script");
    sys::fchmod(file.get(), 0755);
    runtime::Mount mount;
    mount.source = sys::openat(layer.work->fd(), "script", O_PATH);
    mount.target = kScriptPath;
    mount.readOnly = true;
    spec.mounts.push_back(std::move(mount));
  }

  runtime::Container start(const runtime::Spec& spec) const {
    try {
      return runtime::start(spec);
    } catch (const Error& error) {
      Error shown = stepError(error, "RUN");
      if (error.exitCode() == 127 && settings_.command.isShellForm) {
        shown.code("shell-missing");
        shown.hint(
            fmt::format("the stage has no shell {}; use the JSON form, RUN [\"program\", "
                        "\"argument\"], or SHELL",
                        text::escape(spec.argv.front())));
      }
      throw shown;
    }
  }

  // reliability.md 8: TERM, and KILL after two seconds or a second signal; the container's handle
  // kills. A PID 1 that does not catch TERM never sees it (pid_namespaces(7)), so it is not waited
  // for.
  Task<> endGently(const runtime::Container& container) const {
    if (!catchesTerm(container.pid())) co_return;
    container.kill(SIGTERM);
    co_await shop_.events.untilEnd(container.pidfd(), kGrace);
  }

  Task<> follow(const runtime::Container& container, Fd& output) {
    std::string buffer(size_t{64} << 10, '\0');
    // A process that the step left behind may keep the pipe open: the end of PID 1 ends the step.
    for (;;) {
      const unsigned ready = co_await shop_.events.readable(output.get(), container.pidfd());
      if ((ready & Events::kFirst) == 0) {
        drain(output, buffer);
        co_return;
      }
      const auto count = static_cast<size_t>(
          sys::check([&] { return ::read(output.get(), buffer.data(), buffer.size()); },
                     "read the output of a step"));
      if (count == 0) break;  // closed by the command, which may go on without it
      const std::string_view bytes{buffer.data(), count};
      tail_.add(bytes);
      shop_.progress.stepOutput(label_, bytes);
    }
    co_await shop_.events.readable(container.pidfd());
  }

  void drain(Fd& output, std::string& buffer) {
    sys::setNonBlocking(output.get(), true);
    for (ssize_t count; (count = ::read(output.get(), buffer.data(), buffer.size())) > 0;) {
      const std::string_view bytes{buffer.data(), static_cast<size_t>(count)};
      tail_.add(bytes);
      shop_.progress.stepOutput(label_, bytes);
    }
  }

  Error failure(const ExitStatus& status, bool isOutOfMemory) {
    const std::string argv = text::escape(text::join(settings_.command.argv, " "));
    Error error =
        status.signal == 0
            ? Error::make(Kind::failed, "RUN failed with exit code {}", status.code)
            : Error::make(Kind::failed, "RUN was killed by SIG{}", sigabbrev_np(status.signal));
    error.exitCode(status.code);
    if (isOutOfMemory) {
      error.code("oom");
      error.why("killed by the kernel for memory");
    } else if (status.signal == 0) {
      error.why(fmt::format("the command \"{}\" returned {}", argv, status.code));
    }
    const std::vector<std::string> lines = tail_.lines();
    error.logTail(lines);
    const bool isWithoutNetwork =
        settings_.network == "none" && shop_.scope.request->network == "default";
    if (isWithoutNetwork && missesNetwork(lines)) {
      error.hint("a step has no network unless it is asked for: pass --network host");
    }
    return error;
  }

  Workshop& shop_;
  const RunSettings& settings_;
  const StepLabel& label_;
  std::vector<Fd> folders_;
  OutputTail tail_;
};

Task<> execute(Workshop& shop, const RunSettings& settings, const StepLabel& label, Layer& layer,
               const Snapshot& below) {
  RunExecution execution{shop, settings, label};
  co_await execution.run(layer, below);
}

}  // namespace

LayerStep prepareRun(Workshop& shop, const PlannedStage&, const parser::Step& step,
                     const StageState& stage, const StepLabel& label) {
  auto settings = std::make_shared<RunSettings>(settingsOf(shop, step, stage));
  settings->runEnv = settings->env;
  addProxies(settings->runEnv, shop.scope, stage);
  settings->init = stage.init;
  LayerStep job;
  job.key = keyOf(shop, *settings, stage);
  job.createdBy = createdBy(*settings, stage);
  job.command =
      StepCommand{settings->command.argv, settings->env,     settings->cwd,       settings->user,
                  settings->hostname,     settings->network, settings->isInsecure};
  job.inputs = [&shop, &stage, settings](InputList& list) {
    addInputs(list, *settings, stage, shop.scope);
  };
  job.execute = [&shop, settings, label](Layer& layer, const Snapshot& below) {
    return execute(shop, *settings, label, layer, below);
  };
  return job;
}

}  // namespace img::builder
