// img build: options to a request, the request to an image; also --print (cli.md 8 X1, X3-X5, 9.1).
#include "builder/build.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "base/environment.h"
#include "base/fs.h"
#include "base/interruption.h"
#include "base/sys.h"
#include "base/text.h"
#include "builder/context.h"
#include "builder/named_contexts.h"
#include "cli/build_cache.h"
#include "cli/build_context.h"
#include "cli/build_failure_options.h"
#include "cli/build_output.h"
#include "cli/build_report.h"
#include "cli/build_step_options.h"
#include "cli/check.h"
#include "cli/commands.h"
#include "cli/options.h"
#include "cli/plan.h"
#include "cli/pull.h"
#include "cli/registry_options.h"
#include "cli/rootless.h"
#include "cli/store_config.h"
#include "cli/values.h"
#include "parser/print.h"
#include "parser/syntax.h"
#include "store/reference.h"

namespace img::cli {
namespace {

struct BuildOptions {
  std::vector<std::string> tags, buildArgs, labels, addHosts, allow, printEnv, noCacheStages;
  std::optional<long long> jobs;
  FailureOptions failure;
  std::string target, network = "default", print, escape = "\\", pull;
  CallOptions call;
  ReportOptions report;
  OutputOptions output;
  PlanOptions plan;
  CacheOptions cache;
  StepOptionTable step;
  bool noCache = false, split = false;
  BuildPlaces places;
  std::vector<std::string> contexts;
  // How registries are reached.
  distribution::AccessOptions access;
  std::unique_ptr<builder::RemoteTree> tree;  // the files of a context that is no folder
};

bool parseOptions(Context& context, const std::vector<std::string>& args, BuildOptions& build) {
  Options options{context, "[CONTEXT]", "Build an image from a Dockerfile"};
  options.group("Common options")
      .list("-t,--tag", build.tags, "NAME[:TAG]", "Name of the result; may be repeated")
      .text("-f,--file", build.places.file, "FILE",
            "Dockerfile (CONTEXT/Dockerfile, then CONTEXT/Containerfile); - is stdin")
      .list("--build-context", build.contexts, "NAME=VALUE",
            "What NAME means in FROM, --from and mounts: a folder, docker-image://, oci-layout://, "
            "a URL")
      .text("--ignorefile", build.places.ignoreFile, "FILE", "Instead of .dockerignore")
      .list("--build-arg", build.buildArgs, "K[=V]",
            "Value of an ARG; without =V from the environment")
      .text("--target", build.target, "STAGE", "Name or number of the last stage to build")
      .flag("--no-cache", build.noCache, "Do not look up earlier results (they are still stored)")
      .list("--no-cache-filter", build.noCacheStages, "STAGE[,STAGE]", "The same for these stages")
      .number("--jobs,-j", build.jobs, "N", "Steps at a time (one per processor)")
      .list("--label", build.labels, "K=V", "Add a label to the image")
      .text("--network,--net", build.network, "MODE", "Network of RUN steps: default, none or host")
      .list("--add-host", build.addHosts, "HOST:IP", "Extra line in /etc/hosts of RUN steps")
      .list("--allow", build.allow, "ENTITLEMENT",
            "network.host, security.insecure or device[=NAME]")
      .value("--isolation,--user-ns", "METHOD", "auto, root, userns, userns1 or chroot (auto)",
             [&](const std::string& name) { context.globals.isolation = name; });
  build.step.addTo(options);
  build.output.addTo(options);
  build.failure.addTo(options);
  build.report.addTo(options);
  build.plan.addTo(options);
  build.cache.addTo(options);
  options.group("Looking instead of building")
      .text("--print", build.print, "WHAT", "ast, words, context, context+dirs, stages or plan")
      .flag("--split", build.split, "With --print=words: split the results")
      .list("--build-env", build.printEnv, "K=V", "With --print=words: a variable")
      .text("--escape", build.escape, "CHAR", "With --print=words: the escape character")
      .optionalValue("--check", "basic", "WHICH", "Check the Dockerfile: basic or extended",
                     [&](const std::string& value) { build.call.check = value; })
      .text("--call", build.call.call, "WHAT", "build, check, outline or targets")
      .text("--format", build.call.format, "FORM",
            "Of the image: oci or docker; with --check and --call: text or json");
  options.optionalValue("--pull", "always", "WHEN",
                        "When base images are pulled: missing, always, newer or never (missing)",
                        [&](const std::string& value) { build.pull = value; });
  addRegistryOptions(options, build.access);
  for (const char* name :
       {"--rm", "--force-rm", "--layers", "--compress", "--disable-content-trust", "--load"}) {
    options.ignoredFlag(name);
  }
  options.positionals(0, 1);
  if (!options.parse(args)) return false;
  if (!options.words().empty()) build.places.context = options.words().front();
  return true;
}

std::vector<std::pair<std::string, std::string>> assignments(const std::vector<std::string>& list,
                                                             bool fromEnvironment) {
  std::vector<std::pair<std::string, std::string>> pairs;
  for (const std::string& item : list) {
    auto pair = splitAssignment(item);
    if (pair.first.empty())
      throw Error::make(Kind::usage, "{} has no name before the \"=\"", text::quote(item));
    if (fromEnvironment && item.find('=') == std::string::npos) {
      const auto value = findVariable(item);
      if (!value) continue;
      pair.second = *value;
    }
    pairs.push_back(std::move(pair));
  }
  return pairs;
}

// cli.md X3: nothing on stdout and one line on stderr for a syntax error.
int printAst(Context& context, const BuildOptions& build) {
  const DockerfileText dockerfile = findDockerfile(build.places);
  try {
    context.print(parser::printSyntax(parser::parseSyntax(dockerfile.text, dockerfile.shown)));
    return 0;
  } catch (const Error& error) {
    const int line = error.position() ? error.position()->line : 1;
    context.notice(
        fmt::format("{}:{}: {}\n", dockerfile.shown, line, text::escape(error.cause(), 1000)));
    return 1;
  }
}

int printWords(Context& context, const BuildOptions& build) {
  const auto variables = assignments(build.printEnv, false);
  const std::string input = readAll(0, "standard input");
  if (build.escape != "\\" && build.escape != "`") {
    throw Error{Kind::usage, "--escape must be a backslash or a backquote"};
  }
  parser::WordsRequest request;
  request.input = input;
  request.split = build.split;
  request.escape = build.escape.front();
  request.lookup = [&](std::string_view name) -> const std::string* {
    const std::string* found = nullptr;
    for (const auto& [key, value] : variables) {
      if (key == name) found = &value;
    }
    return found;
  };
  context.print(parser::printWords(request));
  return 0;
}

int printContext(Context& context, const BuildOptions& build) {
  const bool withFolders = build.print == "context+dirs";
  const builder::Context tree{build.places.context, findIgnoreFile(build.places)};
  std::string out;
  for (const std::string& path : tree.list(withFolders)) {
    if (path.find('\n') == std::string::npos && text::isValidUtf8(path)) {
      out += path;
    } else {
      parser::appendJsonString(out, path);
    }
    out += '\n';
  }
  context.print(out);
  return 0;
}

// dockerfile.md 7.6: build arg, else the caller's environment, else a global ARG with a literal
// default (the builder's).
std::optional<std::string> epochText(const builder::Request& request) {
  for (auto arg = request.buildArgs.rbegin(); arg != request.buildArgs.rend(); ++arg) {
    if (arg->first == "SOURCE_DATE_EPOCH") return arg->second;
  }
  return findVariable("SOURCE_DATE_EPOCH");
}

void setEpoch(builder::Request& request) {
  const auto text = epochText(request);
  if (!text || text->empty()) return;
  request.sourceDateEpoch = *text == "context" ? request.contextTime : builder::parseEpoch(*text);
  // The number, so that RUN sees it; none for a local context.
  request.buildArgs.emplace_back(
      "SOURCE_DATE_EPOCH", request.sourceDateEpoch ? std::to_string(*request.sourceDateEpoch) : "");
}

std::vector<std::pair<std::string, std::string>> hostEntries(const std::vector<std::string>& list) {
  std::vector<std::pair<std::string, std::string>> entries;
  for (const std::string& item : list) {
    const size_t at = item.find_first_of("=:");
    if (at == 0 || at == std::string::npos || at + 1 == item.size()) {
      throw Error::make(Kind::usage, "--add-host {}: expected HOST:IP", text::quote(item));
    }
    std::string address = item.substr(at + 1);
    if (address.size() > 2 && address.front() == '[' && address.back() == ']')
      address = address.substr(1, address.size() - 2);
    entries.emplace_back(item.substr(0, at), address);
  }
  return entries;
}

// Base images that are missing are pulled; where nothing is built, nothing is.
void setBaseImages(Context& context, const BuildOptions& build, builder::Request& request) {
  ImageWish wish;
  if (!build.pull.empty()) wish.pull = parsePull(build.pull, "--pull");
  if (build.plan.isDryRun || !build.print.empty() || isCall(build.call)) wish.pull = Pull::never;
  wish.access = build.access;
  wish.isQuiet = build.report.isQuiet;
  wish.progress = build.report.progress;
  const auto bases = std::make_shared<BaseImages>(context, std::move(wish));
  request.findImage = [bases](const std::string& name,
                              const std::optional<store::Platform>& platform) {
    return bases->get(name, platform);
  };
  request.expectImages = [bases](const auto& images) { bases->expect(images); };
}

builder::Request makeRequest(Context& context, BuildOptions& build) {
  static constexpr std::array<std::string_view, 3> kNetworks{"default", "none", "host"};
  if (std::find(kNetworks.begin(), kNetworks.end(), build.network) == kNetworks.end()) {
    throw Error::make(Kind::usage, "--network {}: use default, none or host",
                      text::quote(build.network));
  }
  builder::Request request;
  for (const std::string& tag : build.tags) {
    const store::Reference reference = store::Reference::parse(tag);
    if (reference.digest)
      throw Error::make(Kind::usage, "--tag {}: a digest cannot be chosen", text::quote(tag));
    request.names.push_back(reference.full());
  }
  request.buildArgs = assignments(build.buildArgs, true);
  request.labels = assignments(build.labels, false);
  request.addHosts = hostEntries(build.addHosts);
  request.allow = build.allow;
  request.target = build.target;
  request.noCache = build.noCache;
  for (const std::string& list : build.noCacheStages) {
    for (const std::string& name : text::split(list, ','))
      request.noCacheStages.push_back(text::lower(name));
  }
  if (build.jobs) {
    if (*build.jobs < 1 || *build.jobs > 1024)
      throw Error::make(Kind::usage, "--jobs {}: use a number from 1 to 1024", *build.jobs);
    request.jobs = static_cast<int>(*build.jobs);
  }
  build.failure.apply(request);
  request.network = build.network;
  request.runRoot = context.runRoot();
  setBaseImages(context, build, request);
  build.plan.apply(request);
  build.step.apply(context, request);
  build.output.apply(context, isCall(build.call) ? "" : build.call.format, request);
  for (const std::string& option : build.contexts)
    request.contexts.push_back(builder::parseNamedContext(option));
  build.tree = openBuildContext(context, build.places, request);
  setEpoch(request);
  build.cache.apply(request);
  request.registry = build.access;
  return request;
}

int runBuild(Context& context, const std::vector<std::string>& args) {
  BuildOptions options;
  if (!parseOptions(context, args, options)) return 0;
  if (options.print == "ast") return printAst(context, options);
  if (options.print == "words") return printWords(context, options);
  if (options.print == "context" || options.print == "context+dirs")
    return printContext(context, options);
  const bool isPlan = options.print == "stages" || options.print == "plan";
  if (!options.print.empty() && !isPlan) {
    throw Error::make(Kind::usage,
                      "--print={}: use ast, words, context, context+dirs, stages or plan",
                      text::escape(options.print));
  }
  const builder::Request request = makeRequest(context, options);
  if (isPlan) return printPlan(context, options.print, request);
  if (options.plan.isDryRun) return dryRun(context, request);
  if (isCall(options.call)) return runCall(context, request, options.call);
  if (!options.report.idFile.empty() && !request.output.hasImage(!request.names.empty()))
    throw Error{Kind::usage, "--iidfile: the result of this --output is no image and has no id"};
  const auto build = [&](const builder::Request& traced, builder::Progress& progress) {
    const store::Layout& layout = context.store();
    tellWithoutNamespaces(context);
    const store::SpaceLimits limits = storeLimits(context);
    store::makeRoom(layout, limits);
    builder::Request checked = traced;
    checked.makeRoom = [&] {
      if (store::isShortOfRoom(layout, limits)) store::makeRoom(layout, limits);
    };
    const store::StoreUse use{layout};
    const InterruptionScope scope;  // for what happens before and after the steps
    try {
      const builder::Result result = builder::build(checked, layout, progress);
      store::makeRoom(layout, limits);
      return result;
    } catch (Error& error) {
      options.failure.setExitCode(error);
      throw;
    }
  };
  options.report.showsId = !request.output.usesStdout();
  return runReported(context, options.report, request, build);
}

}  // namespace

void addBuildCommand(CommandTable& table) {
  table.add({"build,bud,image build,builder build", Group::build,
             "Build an image from a Dockerfile", runBuild});
}

}  // namespace img::cli
