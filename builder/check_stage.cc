// Checks of the instructions of a stage, in order, with the variables that a build would have there
// (dockerfile.md 2.5, 3.3).
#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <map>

#include "base/text.h"
#include "builder/check_copy.h"
#include "builder/check_rules.h"
#include "parser/value_checks.h"
#include "runtime/command.h"

namespace img::builder {
namespace {

using text::quote;

// What a stage hands on to the stages that are built from it.
struct StageVariables {
  Variables variables;
  std::vector<std::string> args;  // declared, with or without a value
  bool hasShell = false;
  bool hasWorkdir = false;  // one in the file: that of a base image may change with the image
  bool isBaseKnown = true;  // false: an image that the store does not have
};

// Set by official base images. While an image is not here, one of these may well come from it, and
// any other name is taken for a mistake.
constexpr std::array<std::string_view, 44> kUsualNames{"CARGO_HOME",
                                                       "CATALINA_HOME",
                                                       "CLASSPATH",
                                                       "COMPOSER_HOME",
                                                       "CUDA_HOME",
                                                       "CUDA_VERSION",
                                                       "DEBIAN_FRONTEND",
                                                       "DOTNET_VERSION",
                                                       "GEM_HOME",
                                                       "GOLANG_VERSION",
                                                       "GOPATH",
                                                       "GOROOT",
                                                       "GOTOOLCHAIN",
                                                       "GRADLE_HOME",
                                                       "HOME",
                                                       "HOSTNAME",
                                                       "JAVA_HOME",
                                                       "JAVA_VERSION",
                                                       "JETTY_HOME",
                                                       "LANG",
                                                       "LANGUAGE",
                                                       "LC_ALL",
                                                       "LD_LIBRARY_PATH",
                                                       "MAVEN_HOME",
                                                       "MYSQL_VERSION",
                                                       "NGINX_VERSION",
                                                       "NODE_VERSION",
                                                       "NPM_CONFIG_PREFIX",
                                                       "PGDATA",
                                                       "PG_MAJOR",
                                                       "PG_VERSION",
                                                       "PHP_INI_DIR",
                                                       "PHP_VERSION",
                                                       "PYTHONPATH",
                                                       "PYTHON_VERSION",
                                                       "REDIS_VERSION",
                                                       "RUBY_VERSION",
                                                       "RUSTUP_HOME",
                                                       "RUST_VERSION",
                                                       "SHELL",
                                                       "TERM",
                                                       "TZ",
                                                       "USER",
                                                       "YARN_VERSION"};

// A name that holds a secret by its look (8.2): words between '_', any case.
bool looksSecret(std::string_view name) {
  static constexpr std::array<std::string_view, 10> kSecret{
      "APIKEY",   "AUTH",  "CREDENTIAL", "CREDENTIALS", "KEY",
      "PASSWORD", "PWORD", "PASSWD",     "SECRET",      "TOKEN"};
  static constexpr std::array<std::string_view, 3> kHarmless{"PUBLIC", "FILE", "VERSION"};
  bool isSecret = false;
  const std::string upper = text::upper(name);
  for (std::string_view rest = upper; !rest.empty();) {
    const std::string_view word = rest.substr(0, rest.find('_'));
    rest.remove_prefix(std::min(word.size() + 1, rest.size()));
    if (std::find(kHarmless.begin(), kHarmless.end(), word) != kHarmless.end()) return false;
    isSecret |= std::find(kSecret.begin(), kSecret.end(), word) != kSecret.end();
  }
  return isSecret;
}

void checkSecretName(Checking& checking, const parser::Instruction& at, const std::string& name) {
  if (!looksSecret(name)) return;
  checking.findings.add(
      "SecretsUsedInArgOrEnv", at,
      fmt::format("{} {}: do not pass secrets this way, use RUN --mount=type=secret", at.keyword,
                  quote(name)),
      name);
}

class StageWalk {
 public:
  StageWalk(Checking& checking, const CheckedStage& stage, StageVariables state,
            const CopySourceCheck& copies)
      : checking_(checking),
        stage_(stage),
        state_(std::move(state)),
        copies_(copies),
        missing_(state_.variables) {}

  StageVariables run() {
    // Triggers set variables; what is wrong with them was to be said where they are written.
    isTrigger_ = true;
    for (const parser::Step& step : triggersOf(checking_, stage_)) visit(step);
    isTrigger_ = false;
    for (const parser::Step& step : stage_.syntax->steps) visit(step);
    return std::move(state_);
  }

  void operator()(const parser::ArgInstruction& arg) {
    for (const auto& item : arg.items) {
      if (!isTrigger_) checkSecretName(checking_, *at_, item.name);
      std::optional<std::string> value;
      if (const std::string* given = checking_.scope.findBuildArg(item.name)) {
        value = *given;
      } else if (item.value) {
        value = word(*item.value);
        reportMissing();  // a later word of the same ARG sees this one (2.7)
      } else if (const std::string* global = checking_.scope.globals.find(item.name)) {
        value = *global;
      }
      state_.args.push_back(item.name);
      if (value) state_.variables.set(item.name, *value);
    }
  }

  void operator()(const parser::EnvInstruction& env) {
    parser::KeyValues pairs;
    for (const auto& [name, value] : env.pairs) pairs.emplace_back(word(name), word(value));
    for (auto& [name, value] : pairs) {
      if (!isTrigger_) checkSecretName(checking_, *at_, name);
      state_.variables.set(name, std::move(value));
    }
  }

  void operator()(const parser::LabelInstruction& label) {
    for (const auto& [name, value] : label.pairs) {
      word(name);
      word(value);
    }
  }

  void operator()(const parser::RunInstruction& run) {
    for (const std::string& mount : run.mounts) {
      guarded([&] {
        parser::parseRunMount(mount, [&](std::string_view value) { return expand(value, {}); });
      });
    }
  }

  void operator()(const parser::CopyInstruction& copy) {
    for (const std::string& source : copy.sources) {
      const std::string path = word(source);
      if (isTrigger_ || copy.from || !copies_.isIgnored(path, copy.isAdd)) continue;
      checking_.findings.add("CopyIgnoredFile", *at_,
                             fmt::format("{} source {} is excluded by {}", at_->keyword,
                                         quote(path), text::escape(checking_.request.ignoreName)),
                             source);
    }
    word(copy.destination);
    for (const auto& value : {copy.chown, copy.chmod, copy.checksum}) {
      if (value) word(*value);
    }
    for (const auto& file : copy.inlineFiles) {
      if (!file.expand) continue;
      parser::ExpandOptions options;
      options.skipQuotes = true;
      guarded([&] { expand(file.content, options); });
    }
  }

  void operator()(const parser::WorkdirInstruction& workdir) {
    const std::string path = word(workdir.path);
    if (isTrigger_) return;
    if (!state_.hasWorkdir && !path.starts_with('/')) {
      checking_.findings.add(
          "WorkdirRelativePath", *at_,
          fmt::format("relative WORKDIR {} depends on the base image", quote(path)), workdir.path);
    }
    state_.hasWorkdir = true;
  }

  void operator()(const parser::UserInstruction& user) { word(user.user); }
  void operator()(const parser::StopSignalInstruction& stop) { word(stop.signal); }
  void operator()(const parser::VolumeInstruction& volume) {
    for (const std::string& path : volume.paths) word(path);
  }

  void operator()(const parser::ExposeInstruction& expose) {
    for (const std::string& written : expose.ports) {
      word(written);  // for the names; the words come from the mode that splits
      guarded([&] {
        for (const std::string& port :
             parser::expandWords(written, state_.variables.lookup(), expandOptions())) {
          checkPort(written, port);
        }
      });
    }
  }

  void operator()(const parser::CmdInstruction& cmd) { checkCommand(cmd.command); }
  void operator()(const parser::EntrypointInstruction& entry) { checkCommand(entry.command); }
  void operator()(const parser::HealthcheckInstruction&) { checkOnce(); }
  void operator()(const parser::ShellInstruction&) { state_.hasShell = true; }
  void operator()(const parser::MaintainerInstruction&) {}
  void operator()(const parser::OnbuildInstruction&) {}

 private:
  void visit(const parser::Step& step) {
    at_ = &step.syntax;
    std::visit(*this, step.body);
    reportMissing();
  }

  void checkCommand(const parser::Command& command) {
    if (isTrigger_) return;
    checkOnce();
    if (command.exec || state_.hasShell) return;
    checking_.findings.add(
        "JSONArgsRecommended", *at_,
        fmt::format("use the JSON form for {} so that signals reach the program", at_->keyword));
  }

  // The earlier one is reported: it is the one without an effect.
  void checkOnce() {
    if (isTrigger_) return;
    const parser::Instruction*& earlier = seen_[at_->keyword];
    constexpr std::string_view kRule = "MultipleInstructionsDisallowed";
    if (earlier != nullptr && checking_.findings.isOn(kRule, *at_)) {
      checking_.findings.add(
          kRule, *earlier, fmt::format("only the last {} of a stage has an effect", at_->keyword));
    }
    earlier = at_;
  }

  void checkPort(const std::string& written, const std::string& port) {
    const parser::ExposeWord word = parser::parseExposeWord(port);
    if (isTrigger_) return;
    if (word.protocolNotLowerCase) {
      checking_.findings.add(
          "ExposeProtoCasing", *at_,
          fmt::format("EXPOSE {}: write the protocol in lower case", quote(port)), written);
    }
    if (word.hasHostPart) {
      checking_.findings.add("ExposeInvalidFormat", *at_,
                             fmt::format("EXPOSE {}: only the container port is used", quote(port)),
                             written);
    }
  }

  [[nodiscard]] parser::ExpandOptions expandOptions() const {
    parser::ExpandOptions options;
    options.escape = checking_.file.directives.escape;
    return options;
  }

  std::string expand(std::string_view text, const parser::ExpandOptions& options) {
    parser::Expansion expansion = parser::expand(text, missing_.lookup(), options);
    missing_.addAll(expansion.unset);
    return std::move(expansion.text);
  }

  // The error of one that cannot be expanded is that of the build; here the rest goes on.
  std::string word(std::string_view text) {
    std::string result;
    guarded([&] { result = expand(text, expandOptions()); });
    return result;
  }

  template <class Work>
  void guarded(Work&& work) {
    try {
      work();
    } catch (Error& error) {
      error.prefixCause(at_->keyword + ": ").at(positionOf(checking_.file, *at_));
      checking_.fail(error);
    }
  }

  void reportMissing() {
    if (missing_.names().empty()) return;
    for (const std::string& name : missing_.take()) {
      if (isTrigger_ || isDeclared(name)) continue;
      std::vector<std::string> candidates = state_.args;
      for (const auto& [known, value] : state_.variables.all()) candidates.push_back(known);
      for (const auto& [known, value] : checking_.scope.globals.all()) candidates.push_back(known);
      checking_.findings.add(
          "UndefinedVar", *at_,
          fmt::format("variable {} is not set{}", quote(name), suggestion(name, candidates)),
          "$" + name);
    }
  }

  [[nodiscard]] bool isDeclared(const std::string& name) const {
    if (std::find(state_.args.begin(), state_.args.end(), name) != state_.args.end()) return true;
    if (name.starts_with("BUILDKIT_SBOM_SCAN_")) return true;  // 3.3: an ARG only
    return !state_.isBaseKnown &&
           std::find(kUsualNames.begin(), kUsualNames.end(), name) != kUsualNames.end();
  }

  Checking& checking_;
  const CheckedStage& stage_;
  StageVariables state_;
  const CopySourceCheck& copies_;
  MissingNames missing_;
  bool isTrigger_ = false;
  const parser::Instruction* at_ = nullptr;
  std::map<std::string, const parser::Instruction*> seen_;  // by keyword
};

StageVariables startOf(const CheckedStage& stage) {
  StageVariables state;
  if (stage.baseImage) {
    const store::ImageConfig& config = stage.baseImage->config;
    for (const std::string& entry : config.env)
      state.variables.set(entry.substr(0, entry.find('=')),
                          entry.substr(std::min(entry.find('=') + 1, entry.size())));
    state.hasShell = !config.shell.empty();
  } else {
    state.isBaseKnown = stage.fromScratch();
  }
  if (state.variables.find("PATH") == nullptr)
    state.variables.set("PATH", std::string{runtime::kDefaultPath});
  return state;
}

void checkBasePlatform(Checking& checking, const CheckedStage& stage) {
  if (!stage.baseImage) return;
  const parser::Stage& syntax = *stage.syntax;
  parser::Platform wanted = parser::hostPlatform();
  try {
    if (syntax.platform) {
      parser::ExpandOptions options;
      options.escape = checking.file.directives.escape;
      wanted = parser::parsePlatform(
          parser::expand(*syntax.platform, checking.scope.globals.lookup(), options).text);
    }
  } catch (const Error&) {
    return;  // told with the FROM lines
  }
  const store::Platform& actual = stage.baseImage->config.platform;
  if (actual.os == wanted.os && actual.architecture == wanted.architecture) return;
  const parser::Platform shown{actual.os, actual.osVersion, actual.architecture, actual.variant};
  checking.findings.add("InvalidBaseImagePlatform", syntax.from,
                        fmt::format("base image {} is {}, expected {}", quote(stage.baseName),
                                    quote(shown.str()), quote(wanted.str())),
                        syntax.baseName);
}

}  // namespace

void checkStages(Checking& checking) {
  for (const parser::Step& step : checking.file.globalArgs) {
    for (const auto& item : std::get<parser::ArgInstruction>(step.body).items)
      checkSecretName(checking, step.syntax, item.name);
  }
  const CopySourceCheck copies{checking.request};
  std::map<int, StageVariables> results;
  for (size_t i = 0; i < checking.stages.size(); ++i) {
    const CheckedStage& stage = checking.stages[i];
    if (!stage.isNeeded) continue;
    checkBasePlatform(checking, stage);
    const auto base = stage.baseStage ? results.find(*stage.baseStage) : results.end();
    StageVariables start = base == results.end() ? startOf(stage) : base->second;
    StageWalk walk{checking, stage, std::move(start), copies};
    results[static_cast<int>(i)] = walk.run();
  }
}

}  // namespace img::builder
