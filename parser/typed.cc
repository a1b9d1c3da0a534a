#include "parser/typed.h"

#include <array>
#include <utility>

#include "base/text.h"
#include "parser/chars.h"
#include "parser/expand.h"
#include "parser/flags.h"
#include "parser/value_checks.h"
#include "parser/words.h"

namespace img::parser {
namespace {

using Kind = FlagSpec::Kind;

constexpr std::array<FlagSpec, 1> kFromFlags{{{"platform", Kind::string}}};
constexpr std::array<FlagSpec, 4> kRunFlags{{{"mount", Kind::list},
                                             {"network", Kind::string},
                                             {"security", Kind::string},
                                             {"device", Kind::list}}};
constexpr std::array<FlagSpec, 6> kCopyFlags{{{"from", Kind::string},
                                              {"chown", Kind::string},
                                              {"chmod", Kind::string},
                                              {"link", Kind::boolean},
                                              {"parents", Kind::boolean},
                                              {"exclude", Kind::list}}};
constexpr std::array<FlagSpec, 7> kAddFlags{{{"chown", Kind::string},
                                             {"chmod", Kind::string},
                                             {"link", Kind::boolean},
                                             {"exclude", Kind::list},
                                             {"keep-git-dir", Kind::boolean},
                                             {"checksum", Kind::string},
                                             {"unpack", Kind::boolean}}};
constexpr std::array<FlagSpec, 5> kHealthFlags{{{"interval", Kind::string},
                                                {"timeout", Kind::string},
                                                {"start-period", Kind::string},
                                                {"start-interval", Kind::string},
                                                {"retries", Kind::string}}};

constexpr long long kMillisecond = 1'000'000;

// Types one instruction; its members are the context every error needs.
class Typer {
 public:
  Typer(const Instruction& syntax, const SourceText& source) : syntax_(syntax), source_(source) {}

  [[nodiscard]] Body run() const {
    const std::string& keyword = syntax_.keyword;
    if (keyword == "RUN") return runInstruction();
    if (keyword == "COPY" || keyword == "ADD") return copy();
    if (keyword == "HEALTHCHECK") return health();
    refuseFlags();
    if (keyword == "ARG") return arg();
    if (keyword == "ENV") return pairs<EnvInstruction>();
    if (keyword == "LABEL") return pairs<LabelInstruction>();
    if (keyword == "WORKDIR") return WorkdirInstruction{onlyArgument()};
    if (keyword == "USER") return UserInstruction{onlyArgument()};
    if (keyword == "STOPSIGNAL") return StopSignalInstruction{onlyArgument()};
    if (keyword == "MAINTAINER") return MaintainerInstruction{onlyArgument()};
    if (keyword == "VOLUME") return VolumeInstruction{atLeastOne()};
    if (keyword == "EXPOSE") return ExposeInstruction{atLeastOne()};
    if (keyword == "CMD") return CmdInstruction{command(syntax_.args)};
    if (keyword == "ENTRYPOINT") return EntrypointInstruction{command(syntax_.args)};
    if (keyword == "SHELL") return shell();
    if (keyword == "ONBUILD") return onbuild();
    throw Error{img::Kind::internal, "instruction " + text::quote(keyword) + " has no typed form"};
  }

  [[nodiscard]] Stage from() const {
    const Flags flags{syntax_, source_, kFromFlags};
    const auto& args = syntax_.args;
    const bool named = args.size() == 3 && text::lower(args[1]) == "as";
    if (args.size() != 1 && !named) throw fault("needs one or three arguments (NAME [AS STAGE])");
    Stage stage;
    stage.from = syntax_;
    stage.baseName = args[0];
    stage.platform = flags.text("platform");
    if (!named) return stage;
    stage.name = text::lower(args[2]);
    if (!isStageName(stage.name)) {
      throw fault(fmt::format("bad stage name {}: use a letter followed by letters, digits, - _ .",
                              text::quote(args[2])),
                  args[2]);
    }
    return stage;
  }

 private:
  [[nodiscard]] Body runInstruction() const {
    const Flags flags{syntax_, source_, kRunFlags};
    RunInstruction run;
    run.command = command(syntax_.args);
    if (run.command.exec ? run.command.words.empty() : run.command.words[0].empty()) {
      throw fault("needs at least one argument");
    }
    run.heredocs = syntax_.heredocs;
    run.isHeredocScript = !run.command.exec && run.heredocs.size() == 1 &&
                          parseHeredocMarker(run.command.words[0]).has_value();
    run.mounts = flags.list("mount");
    run.devices = flags.list("device");
    run.network = flags.text("network");
    run.security = flags.text("security");
    if (run.network && *run.network != "default" && *run.network != "none" &&
        *run.network != "host") {
      throw fault("--network must be default, none or host", "--network");
    }
    if (run.security && *run.security != "sandbox" && *run.security != "insecure") {
      throw fault("--security must be sandbox or insecure", "--security");
    }
    return run;
  }

  [[nodiscard]] Body copy() const {
    CopyInstruction copy;
    copy.isAdd = syntax_.keyword == "ADD";
    const Flags flags{syntax_, source_,
                      copy.isAdd ? std::span<const FlagSpec>{kAddFlags} : kCopyFlags};
    copy.from = flags.text("from");
    copy.chown = flags.text("chown");
    copy.chmod = flags.text("chmod");
    copy.checksum = flags.text("checksum");
    copy.excludes = flags.list("exclude");
    copy.link = flags.isSet("link");
    copy.parents = flags.isSet("parents");
    copy.keepGitDir = flags.isSet("keep-git-dir");
    copy.unpack = flags.boolean("unpack");
    if (syntax_.args.size() < 2) throw fault("needs at least one source and a destination");
    if (copy.from) checkFrom(*copy.from);
    readPaths(copy);
    return copy;
  }

  // Every marker takes the next body with its name, so that equal names keep their order (Q8).
  void readPaths(CopyInstruction& copy) const {
    std::vector<bool> used(syntax_.heredocs.size(), false);
    const auto takeBody = [&](std::string_view word) -> const Heredoc* {
      if (syntax_.json || syntax_.heredocs.empty()) return nullptr;
      const auto marker = parseHeredocMarker(word);
      for (size_t i = 0; marker && i < used.size(); ++i) {
        if (used[i] || syntax_.heredocs[i].name != marker->name) continue;
        used[i] = true;
        return &syntax_.heredocs[i];
      }
      return nullptr;
    };
    for (size_t i = 0; i + 1 < syntax_.args.size(); ++i) {
      const std::string& word = syntax_.args[i];
      if (const Heredoc* body = takeBody(word)) {
        copy.inlineFiles.push_back({body->name, heredocText(*body), body->expand});
      } else {
        copy.sources.push_back(word);
      }
    }
    copy.destination = syntax_.args.back();
    if (takeBody(copy.destination) != nullptr) {
      throw fault("the destination cannot be a heredoc", copy.destination);
    }
  }

  // 2.6: nothing in --from may be subject to expansion.
  void checkFrom(const std::string& from) const {
    bool changes = false;
    try {
      changes = expand(from, [](std::string_view) { return nullptr; }).text != from;
    } catch (const Error&) {
      changes = true;
    }
    if (!changes) return;
    // FROM takes the expression as it is written, so the quotes here are only the message's.
    throw fault(
        fmt::format("--from does not take variables; add \"FROM {} AS name\" and use --from=name",
                    text::escape(from)),
        "--from");
  }

  [[nodiscard]] Body arg() const {
    ArgInstruction arg;
    for (const std::string& word : atLeastOne()) {
      const size_t equals = word.find('=');
      ArgInstruction::Item item{word.substr(0, equals), std::nullopt};
      if (equals != std::string::npos) item.value = word.substr(equals + 1);
      if (item.name.empty()) throw fault("empty name", word);
      arg.items.push_back(std::move(item));
    }
    return arg;
  }

  template <class Pairs>
  [[nodiscard]] Body pairs() const {
    const auto args = atLeastOne();
    Pairs result;
    for (size_t i = 0; i + 1 < args.size(); i += 2) {
      if (args[i].empty()) throw fault("empty name");
      result.pairs.emplace_back(args[i], args[i + 1]);
    }
    // A name is followed by '=' in one form and by a blank in the other.
    result.legacy = syntax_.body.size() > args[0].size() && syntax_.body[args[0].size()] != '=';
    return result;
  }

  [[nodiscard]] Body shell() const {
    if (syntax_.body.empty() || (syntax_.json && syntax_.args.empty())) {
      throw fault("needs at least one argument");
    }
    if (!syntax_.json) throw fault("must be a JSON array such as [\"/bin/sh\", \"-c\"]");
    return ShellInstruction{syntax_.args};
  }

  [[nodiscard]] Body onbuild() const {
    if (syntax_.child.empty()) throw fault("needs at least one argument");
    Instruction child = syntax_.child.front();
    if (child.keyword == "ONBUILD" || child.keyword == "FROM" || child.keyword == "MAINTAINER") {
      throw fault(text::quote(child.keyword) + " is not allowed as a trigger", child.written);
    }
    child.heredocs = syntax_.heredocs;
    typeBody(child, source_);  // Q24: what cannot run later is refused now
    std::string trigger = child.original;
    for (const Heredoc& heredoc : child.heredocs) {
      trigger += "\n" + heredoc.content + heredoc.name;
    }
    return OnbuildInstruction{std::move(trigger)};
  }

  [[nodiscard]] Body health() const {
    if (syntax_.args.empty()) {
      refuseFlags();
      throw fault("needs at least one argument");
    }
    const std::string type = text::upper(syntax_.args[0]);
    const std::vector<std::string> rest{syntax_.args.begin() + 1, syntax_.args.end()};
    HealthcheckInstruction health;
    if (type == "NONE") {
      refuseFlags();  // Q5
      if (!rest.empty()) throw fault("NONE takes no arguments");
      health.none = true;
      return health;
    }
    if (type != "CMD") {
      throw fault(fmt::format("unknown type {}; use CMD or NONE", text::quote(syntax_.args[0])),
                  syntax_.args[0]);
    }
    const Flags flags{syntax_, source_, kHealthFlags};
    health.interval = duration(flags, "interval");
    health.timeout = duration(flags, "timeout");
    health.startPeriod = duration(flags, "start-period");
    health.startInterval = duration(flags, "start-interval");
    health.retries = retries(flags);
    if (rest.empty()) throw fault("CMD needs a command");
    health.command = Command{syntax_.json, rest};
    if (!syntax_.json) {
      const std::string_view body = syntax_.body;
      health.command.words = {std::string{trimSpace(body.substr(syntax_.args[0].size()))}};
    }
    return health;
  }

  [[nodiscard]] long long duration(const Flags& flags, std::string_view name) const {
    const auto value = flags.text(name);
    if (!value) return 0;
    const std::string flag = fmt::format("--{}", name);
    const auto bad = [&](std::string_view detail) {
      return fault(fmt::format("{} {}: {}", flag, text::quote(*value), detail), flag);
    };
    long long nanoseconds = 0;
    try {
      nanoseconds = parseDuration(*value);
    } catch (const Error& error) {
      throw bad(error.cause());
    }
    if (nanoseconds < 0) throw bad("must not be negative");
    if (nanoseconds != 0 && nanoseconds < kMillisecond) throw bad("must be at least 1ms");
    return nanoseconds;
  }

  [[nodiscard]] int retries(const Flags& flags) const {
    const auto value = flags.text("retries");
    if (!value) return 0;
    const auto number = text::parseUnsigned(*value);
    if (!number || *number > 0x7FFFFFFF) {
      throw fault(fmt::format("--retries {}: must be a number, 0 or more", text::quote(*value)),
                  "--retries");
    }
    return static_cast<int>(*number);
  }

  [[nodiscard]] Command command(const std::vector<std::string>& args) const {
    if (syntax_.json) return Command{true, args};
    return Command{false, {syntax_.body}};
  }

  [[nodiscard]] std::vector<std::string> atLeastOne() const {
    if (syntax_.args.empty()) throw fault("needs at least one argument");
    return syntax_.args;
  }

  [[nodiscard]] std::string onlyArgument() const {
    if (syntax_.body.empty()) throw fault("needs exactly one argument");
    return syntax_.body;
  }

  void refuseFlags() const { Flags{syntax_, source_, {}}; }

  static bool isStageName(std::string_view name) {
    if (name.empty() || name[0] < 'a' || name[0] > 'z') return false;
    for (const char c : name) {
      if (!(c >= 'a' && c <= 'z') && !isDigit(c) && c != '-' && c != '_' && c != '.') return false;
    }
    return true;
  }

  [[nodiscard]] Error fault(std::string_view message, std::string_view token = {}) const {
    return parseFault(source_, {syntax_.line, syntax_.endLine},
                      fmt::format("{}: {}", syntax_.keyword, message), token);
  }

  const Instruction& syntax_;
  const SourceText& source_;
};

}  // namespace

Body typeBody(const Instruction& syntax, const SourceText& source) {
  return Typer{syntax, source}.run();
}

Stage typeFrom(const Instruction& syntax, const SourceText& source) {
  return Typer{syntax, source}.from();
}

}  // namespace img::parser
