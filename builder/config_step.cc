#include "builder/config_step.h"

#include <fmt/core.h>

#include <algorithm>

#include "base/text.h"
#include "parser/value_checks.h"

namespace img::builder {
namespace {

// Go's %q as far as it matters in a history line.
std::string quoted(const std::string& text) {
  std::string out = "\"";
  for (const char c : text) {
    switch (c) {
      case '"': out += "\\\""; break;
      case '\\': out += "\\\\"; break;
      case '\n': out += "\\n"; break;
      case '\t': out += "\\t"; break;
      case '\r': out += "\\r"; break;
      default: out += c;
    }
  }
  return out + '"';
}

std::string quotedList(const std::vector<std::string>& words) {
  std::vector<std::string> parts;
  parts.reserve(words.size());
  for (const std::string& word : words) parts.push_back(quoted(word));
  return "[" + text::join(parts, " ") + "]";
}

// Go's time.Duration.String(): "1h2m3.5s", "300ms", "0s".
std::string goDuration(long long nanoseconds) {
  if (nanoseconds == 0) return "0s";
  const auto trimmed = [](double value) {
    std::string digits = fmt::format("{:.9f}", value);
    digits.erase(digits.find_last_not_of('0') + 1);
    if (digits.back() == '.') digits.pop_back();
    return digits;
  };
  const auto number = static_cast<double>(nanoseconds);
  if (nanoseconds < 1000) return fmt::format("{}ns", nanoseconds);
  if (nanoseconds < 1'000'000) return trimmed(number / 1e3) + "µs";
  if (nanoseconds < 1'000'000'000) return trimmed(number / 1e6) + "ms";
  const long long minutes = nanoseconds / 60'000'000'000;
  std::string seconds = trimmed(static_cast<double>(nanoseconds % 60'000'000'000) / 1e9) + "s";
  if (minutes == 0) return seconds;
  if (minutes < 60) return fmt::format("{}m{}", minutes, seconds);
  return fmt::format("{}h{}m{}", minutes / 60, minutes % 60, seconds);
}

// Calls of the value checks get the keyword and the position.
template <class Work>
auto checked(const Scope& scope, const parser::Instruction& syntax, Work&& work) {
  try {
    return work();
  } catch (Error& error) {
    error.prefixCause(syntax.keyword + ": ");
    error.at(positionOf(*scope.file, syntax));
    throw;
  }
}

// BUILDKIT_SBOM_*: never put into the environment (3.3).
bool isHiddenArg(const std::string& name) {
  return name == "BUILDKIT_SBOM_SCAN_CONTEXT" || name == "BUILDKIT_SBOM_SCAN_STAGE";
}

class ConfigVisitor {
 public:
  ConfigVisitor(const parser::Step& step, StageState& stage, const Scope& scope)
      : syntax_(step.syntax),
        stage_(stage),
        config_(stage.config),
        scope_(scope),
        before_(stage.variables),
        expand_(scope, step.syntax, before_) {}

  bool operator()(const parser::ArgInstruction& arg) {
    std::vector<std::string> shown;
    for (const auto& item : arg.items) {
      // ARG is the exception of 2.7: each word sees what the words before it have set.
      const WordExpander current{scope_, syntax_, stage_.variables};
      std::optional<std::string> value;
      if (const std::string* given = scope_.findBuildArg(item.name)) {
        value = *given;
      } else if (item.value) {
        value = current.word(*item.value);
      } else if (const std::string* global = scope_.globals.find(item.name)) {
        value = *global;
      }
      if (std::find(stage_.args.begin(), stage_.args.end(), item.name) == stage_.args.end()) {
        stage_.args.push_back(item.name);
      }
      if (value && !isHiddenArg(item.name)) stage_.variables.set(item.name, *value);
      shown.push_back(value ? item.name + "=" + *value : item.name);
    }
    recordHistory(stage_, "ARG " + text::join(shown, " "));
    return true;
  }

  bool operator()(const parser::EnvInstruction& env) {
    const std::vector<std::pair<std::string, std::string>> pairs = expandPairs(env.pairs);
    for (const auto& [name, value] : pairs) {
      stage_.variables.set(name, value);
      setEnv(config_.env, name, value);
    }
    recordHistory(stage_, "ENV " + shownPairs(pairs));
    return true;
  }

  bool operator()(const parser::LabelInstruction& label) {
    const std::vector<std::pair<std::string, std::string>> pairs = expandPairs(label.pairs);
    for (const auto& [name, value] : pairs) config_.labels[name] = value;
    recordHistory(stage_, "LABEL " + shownPairs(pairs));
    return true;
  }

  bool operator()(const parser::ExposeInstruction& expose) {
    std::vector<std::string> words = expose.ports;
    std::sort(words.begin(), words.end());
    std::vector<std::string> ports;
    for (const std::string& word : words) {
      for (const std::string& expanded : expand_.words(word)) {
        const auto parsed =
            checked(scope_, syntax_, [&] { return parser::parseExposeWord(expanded); });
        ports.insert(ports.end(), parsed.ports.begin(), parsed.ports.end());
      }
    }
    for (const std::string& port : ports) config_.exposedPorts[port] = true;
    recordHistory(stage_, "EXPOSE [" + text::join(ports, " ") + "]");
    return true;
  }

  bool operator()(const parser::UserInstruction& user) {
    config_.user = expand_.word(user.user);
    recordHistory(stage_, "USER " + config_.user);
    return true;
  }

  bool operator()(const parser::VolumeInstruction& volume) {
    std::vector<std::string> paths;
    for (const std::string& path : volume.paths) {
      const std::string expanded{text::trim(expand_.word(path))};
      if (expanded.empty()) throw instructionError(scope_, syntax_, "a volume needs a path");
      config_.volumes[expanded] = true;
      paths.push_back(expanded);
    }
    recordHistory(stage_, "VOLUME [" + text::join(paths, " ") + "]");
    return true;
  }

  bool operator()(const parser::StopSignalInstruction& stop) {
    const std::string signal = expand_.word(stop.signal);
    checked(scope_, syntax_, [&] { parser::checkStopSignal(signal); });
    config_.stopSignal = signal;
    recordHistory(stage_, "STOPSIGNAL " + signal);
    return true;
  }

  bool operator()(const parser::MaintainerInstruction& maintainer) {
    config_.author = maintainer.author;
    recordHistory(stage_, "MAINTAINER " + maintainer.author);
    return true;
  }

  bool operator()(const parser::CmdInstruction& cmd) {
    config_.cmd = commandLine(cmd.command, config_);
    stage_.hasCmd = true;
    recordHistory(stage_, "CMD " + quotedList(*config_.cmd));
    return true;
  }

  bool operator()(const parser::EntrypointInstruction& entrypoint) {
    config_.entrypoint = commandLine(entrypoint.command, config_);
    // An inherited Cmd would be the arguments of another program (3.16, reset rule).
    if (!stage_.hasCmd) config_.cmd.reset();
    recordHistory(stage_, "ENTRYPOINT " + quotedList(*config_.entrypoint));
    if (config_.entrypoint->empty()) config_.entrypoint.reset();
    return true;
  }

  bool operator()(const parser::ShellInstruction& shell) {
    config_.shell = shell.argv;
    recordHistory(stage_, "SHELL [" + text::join(shell.argv, " ") + "]");
    return true;
  }

  bool operator()(const parser::OnbuildInstruction& onbuild) {
    config_.onBuild.push_back(onbuild.trigger);  // no history entry (3.20)
    return true;
  }

  bool operator()(const parser::HealthcheckInstruction& check) {
    store::Healthcheck health;
    if (check.none) {
      health.test = {"NONE"};
    } else {
      health.test = check.command.words;
      health.test.insert(health.test.begin(), check.command.exec ? "CMD" : "CMD-SHELL");
    }
    health.interval = check.interval;
    health.timeout = check.timeout;
    health.startPeriod = check.startPeriod;
    health.startInterval = check.startInterval;
    health.retries = check.retries;
    recordHistory(stage_, fmt::format("HEALTHCHECK {{Test:[{}] Interval:{} Timeout:{} "
                                      "StartPeriod:{} StartInterval:{} Retries:{}}}",
                                      text::join(health.test, " "), goDuration(health.interval),
                                      goDuration(health.timeout), goDuration(health.startPeriod),
                                      goDuration(health.startInterval), health.retries));
    config_.healthcheck = std::move(health);
    return true;
  }

  // These make layers.
  bool operator()(const parser::RunInstruction&) { return false; }
  bool operator()(const parser::CopyInstruction&) { return false; }
  bool operator()(const parser::WorkdirInstruction&) { return false; }

 private:
  [[nodiscard]] std::vector<std::pair<std::string, std::string>> expandPairs(
      const parser::KeyValues& pairs) const {
    std::vector<std::pair<std::string, std::string>> expanded;
    for (const auto& [name, value] : pairs) {
      expanded.emplace_back(expand_.word(name), expand_.word(value));
      if (expanded.back().first.empty()) throw instructionError(scope_, syntax_, "empty name");
    }
    return expanded;
  }

  static std::string shownPairs(const std::vector<std::pair<std::string, std::string>>& pairs) {
    std::vector<std::string> shown;
    shown.reserve(pairs.size());
    for (const auto& [name, value] : pairs) shown.push_back(fmt::format("{}={}", name, value));
    return text::join(shown, " ");
  }

  const parser::Instruction& syntax_;
  StageState& stage_;
  store::ImageConfig& config_;
  const Scope& scope_;
  const Variables before_;  // all words see the state before the instruction (2.7)
  WordExpander expand_;
};

}  // namespace

bool applyConfigStep(const parser::Step& step, StageState& stage, const Scope& scope) {
  return std::visit(ConfigVisitor{step, stage, scope}, step.body);
}

void applyChange(store::ImageConfig& config, const std::string& change) {
  static constexpr const char* kAllowed[] = {"CMD",    "ENTRYPOINT", "ENV",         "EXPOSE",
                                             "LABEL",  "ONBUILD",    "STOPSIGNAL",  "USER",
                                             "VOLUME", "WORKDIR",    "HEALTHCHECK", "SHELL"};
  const std::string origin = "--change";
  parser::Instruction syntax = parser::parseTrigger(change, origin);
  if (std::find(std::begin(kAllowed), std::end(kAllowed), syntax.keyword) == std::end(kAllowed)) {
    throw Error::make(Kind::usage, "--change: {} is not allowed here", text::quote(syntax.keyword))
        .hint(
            "use CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, ONBUILD, STOPSIGNAL, USER, VOLUME, WORKDIR, "
            "HEALTHCHECK or SHELL");
  }
  const parser::Step step = parser::typeInstruction(std::move(syntax), origin, change);
  Request request;
  parser::Dockerfile file;
  file.fileName = origin;
  file.text = change;
  Scope scope;
  scope.request = &request;
  scope.file = &file;
  StageState stage;
  stage.config = std::move(config);
  for (const std::string& entry : stage.config.env) {
    const size_t equals = entry.find('=');
    stage.variables.set(entry.substr(0, equals),
                        equals == std::string::npos ? "" : entry.substr(equals + 1));
  }
  if (const auto* workdir = std::get_if<parser::WorkdirInstruction>(&step.body)) {
    const std::string path = WordExpander{scope, step.syntax, stage.variables}.word(workdir->path);
    stage.config.workingDir = joinPath(stage.config.workingDir, path);
  } else {
    // A change replaces the command only: the reset rule is for Dockerfiles.
    stage.hasCmd = true;
    applyConfigStep(step, stage, scope);
  }
  config = std::move(stage.config);
}

}  // namespace img::builder
