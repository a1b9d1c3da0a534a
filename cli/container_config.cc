#include "cli/container_config.h"

#include <arpa/inet.h>
#include <unistd.h>

#include <csignal>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>

#include "base/environment.h"
#include "base/error.h"
#include "base/fs.h"
#include "base/json.h"
#include "base/sys.h"
#include "base/text.h"
#include "builder/config_step.h"
#include "cli/container_spec.h"
#include "cli/health_options.h"
#include "cli/namespace_options.h"
#include "cli/network_options.h"
#include "cli/port_options.h"
#include "cli/security_options.h"
#include "cli/values.h"
#include "runtime/resource_limits.h"

namespace img::cli {
namespace {

std::string_view keyOf(std::string_view assignment) {
  return assignment.substr(0, assignment.find('='));
}

// --entrypoint takes one word, or a JSON array of words.
std::vector<std::string> parseEntrypoint(const std::string& text) {
  if (text.empty()) return {};
  if (!text.starts_with('[')) return {text};
  try {
    return parseJson(text, "--entrypoint").get<std::vector<std::string>>();
  } catch (const Json::exception&) {
    return {text};
  } catch (const Error&) {
    return {text};
  }
}

void addLabels(std::map<std::string, std::string>& labels,
               const std::vector<std::string>& assignments) {
  for (const std::string& assignment : assignments) {
    const auto [key, value] = splitAssignment(assignment);
    if (key.empty())
      throw Error::make(Kind::usage, "--label: {} has no key", text::quote(assignment));
    labels[key] = value;
  }
}

std::string readOptionFile(const std::string& path, std::string_view option) {
  try {
    return fs::readFile(AT_FDCWD, path, size_t{4} << 20);
  } catch (Error& error) {
    throw error.prefixCause(fmt::format("{}: ", option)).exitCode(125);
  }
}

std::map<std::string, std::string> labelsOf(const RunRequest& request,
                                            const store::ImageConfig& image) {
  std::map<std::string, std::string> labels = image.labels;
  for (const std::string& path : request.labelFiles) {
    addLabels(labels, parseEnvFile(readOptionFile(path, "--label-file"), path));
  }
  addLabels(labels, request.labels);
  return labels;
}

std::vector<std::string> allVariables() {
  std::vector<std::string> all;
  for (char** variable = ::environ; variable != nullptr && *variable != nullptr; ++variable) {
    if ((*variable)[0] != '=') all.emplace_back(*variable);
  }
  return all;
}

std::vector<std::string> envOf(const RunRequest& request, const store::ImageConfig& image) {
  std::vector<std::string> env = image.env;
  for (const std::string& key : request.unsetEnv) {
    std::erase_if(env, [&](const std::string& known) { return keyOf(known) == key; });
  }
  if (request.hostEnv) env = mergeEnv(std::move(env), allVariables());
  for (const std::string& path : request.envFiles) {
    env = mergeEnv(std::move(env), parseEnvFile(readOptionFile(path, "--env-file"), path));
  }
  return mergeEnv(std::move(env), request.env);
}

void settleLog(const RunRequest& request, store::ContainerConfig& config) {
  config.logDriver = request.logDriver;
  for (const std::string& option : request.logOpt) {
    const auto [key, value] = splitAssignment(option);
    config.logOptions[key] = value;
    if (key == "max-size") {
      config.logMaxSize = parseSize(value, "--log-opt max-size");
    } else if (const auto files = text::parseUnsigned(value);
               key == "max-file" && files && *files >= 1 && *files <= 100) {
      config.logMaxFiles = static_cast<int>(*files);
    } else {
      throw Error::make(Kind::usage, "--log-opt: {} is neither max-size=SIZE nor max-file=1..100",
                        text::quote(option));
    }
  }
}

std::optional<int> signalByName(std::string name) {
  if (name.starts_with("SIG")) name.erase(0, 3);
  for (int number = 1; number < 32; ++number) {
    const char* known = ::sigabbrev_np(number);
    if (known != nullptr && name == known) return number;
  }
  if (name == "RTMIN") return SIGRTMIN;
  if (name == "RTMAX") return SIGRTMAX;
  const bool up = name.starts_with("RTMIN+");
  if (!up && !name.starts_with("RTMAX-")) return std::nullopt;
  const auto offset = text::parseUnsigned(name.substr(6));
  if (!offset || *offset > static_cast<unsigned>(SIGRTMAX - SIGRTMIN)) return std::nullopt;
  return up ? SIGRTMIN + static_cast<int>(*offset) : SIGRTMAX - static_cast<int>(*offset);
}

}  // namespace

std::vector<std::string> CommandWords::argv() const {
  std::vector<std::string> all = entrypoint;
  all.insert(all.end(), command.begin(), command.end());
  return all;
}

CommandWords commandOf(const store::ImageConfig& image,
                       const std::optional<std::string>& entrypoint,
                       const std::vector<std::string>& words) {
  CommandWords result;
  result.entrypoint = entrypoint ? parseEntrypoint(*entrypoint)
                                 : image.entrypoint.value_or(std::vector<std::string>{});
  if (!words.empty()) {
    result.command = words;
  } else if (!entrypoint) {
    result.command = image.cmd.value_or(std::vector<std::string>{});
  }
  if (result.argv().empty()) {
    throw Error{Kind::usage, "no command specified"}.hint(
        "the image has neither CMD nor ENTRYPOINT: give a command after its name");
  }
  return result;
}

std::vector<std::string> mergeEnv(std::vector<std::string> base,
                                  const std::vector<std::string>& more) {
  for (std::string assignment : more) {
    if (assignment.empty() || assignment.front() == '=') {
      throw Error::make(Kind::usage, "{} is not a variable", text::quote(assignment));
    }
    if (assignment.find('=') == std::string::npos) {
      const auto value = findVariable(assignment);
      if (!value) continue;
      assignment += "=" + *value;
    }
    const auto same = [&](const std::string& known) { return keyOf(known) == keyOf(assignment); };
    const auto known = std::find_if(base.begin(), base.end(), same);
    if (known != base.end()) {
      *known = std::move(assignment);
    } else {
      base.push_back(std::move(assignment));
    }
  }
  return base;
}

std::vector<std::string> parseEnvFile(std::string_view text, std::string_view origin) {
  std::vector<std::string> assignments;
  int number = 0;
  for (std::string& line : text::split(text, '\n')) {
    ++number;
    if (line.ends_with('\r')) line.pop_back();
    line.erase(0, line.find_first_not_of(" \t"));
    if (line.empty() || line.front() == '#') continue;
    const std::string_view key = keyOf(line);
    if (key.empty() || key.find_first_of(" \t") != std::string_view::npos) {
      throw Error::make(Kind::usage, "{}:{}: {} is not the name of a variable", origin, number,
                        text::quote(key));
    }
    assignments.push_back(std::move(line));
  }
  return assignments;
}

store::UlimitRecord parseUlimit(std::string_view spec) {
  const auto [name, values] = splitAssignment(spec);
  if (!runtime::resourceByName(name)) {
    throw Error::make(Kind::usage, "--ulimit: unknown limit {}", text::quote(name))
        .hint("for example nofile=1024:2048; the names are those of setrlimit(2), without RLIMIT_");
  }
  const auto number = [&](const std::string& word) -> long long {
    if (word == "-1" || word == "unlimited") return -1;
    const auto value = text::parseUnsigned(word);
    if (value && *value <= std::numeric_limits<long long>::max()) {
      return static_cast<long long>(*value);
    }
    throw Error::make(Kind::usage, "--ulimit: {} is not NAME=SOFT[:HARD]", text::quote(spec));
  };
  const size_t colon = values.find(':');
  store::UlimitRecord limit{name, number(values.substr(0, colon)), 0};
  limit.hard = colon == std::string::npos ? limit.soft : number(values.substr(colon + 1));
  const bool isAbove = limit.hard >= 0 && (limit.soft < 0 || limit.soft > limit.hard);
  if (isAbove) {
    throw Error::make(Kind::usage, "--ulimit {}: the soft limit is above the hard limit",
                      text::quote(spec));
  }
  return limit;
}

std::pair<std::string, std::string> parseExtraHost(std::string_view spec) {
  const size_t separator = spec.find_first_of(":=");
  std::string host{spec.substr(0, separator)};
  std::string address{separator == std::string_view::npos ? "" : spec.substr(separator + 1)};
  if (address.starts_with('[') && address.ends_with(']'))
    address = address.substr(1, address.size() - 2);
  unsigned char raw[16];
  const bool isAddress = ::inet_pton(AF_INET, address.c_str(), raw) == 1 ||
                         ::inet_pton(AF_INET6, address.c_str(), raw) == 1;
  const bool badHost = host.empty() || host.find_first_of(" \t\r\n#") != std::string::npos;
  if (badHost || (!isAddress && address != kHostGateway)) {
    throw Error::make(Kind::usage, "--add-host: {} is not HOST:IP", text::quote(spec));
  }
  return {std::move(host), std::move(address)};
}

namespace {

// What other units take apart further (ports, ids, devices, health).
void addOptionRecords(const RunRequest& request, store::ContainerConfig& config) {
  const NetworkRequest& network = request.networkOptions;
  config.domainname = network.domainname;
  config.networkOptions.ports = parsePublished(request.publish);
  config.networkOptions.publishAll = network.publishAll;
  config.networkOptions.dns = network.dns;
  config.networkOptions.dnsSearch = network.dnsSearch;
  config.networkOptions.dnsOptions = network.dnsOptions;
  config.networkOptions.aliases = network.aliases;
  config.networkOptions.address = network.address;
  config.networkOptions.macAddress = network.macAddress;
  config.networkOptions.noHosts = network.noHosts;
  config.networkOptions.noHostname = network.noHostname;
  recordNamespaces(request, config);
  config.health = healthRecordOf(request.health);
  config.restart = parseRestart(request.restart);
  config.cgroups = request.cgroups;
  config.cgroupParent = request.cgroupParent;
}

}  // namespace

store::ContainerConfig configFor(const RunRequest& request, const store::Image& image) {
  const std::vector<std::string> words{request.words.begin() + 1, request.words.end()};
  const CommandWords command = commandOf(image.config, request.entrypoint, words);
  store::ContainerConfig config;
  config.name = request.name;
  config.imageName = request.words.front();
  config.imageId = image.id;
  config.diffIds = image.config.diffIds;
  config.entrypoint = command.entrypoint;
  config.command = command.command;
  config.argv = command.argv();
  config.env = envOf(request, image.config);
  const std::string& cwd = request.workdir.empty() ? image.config.workingDir : request.workdir;
  config.cwd = cwd.empty() ? "/" : cwd;
  if (!config.cwd.starts_with('/')) {
    throw Error::make(Kind::usage, "the working directory {} is not an absolute path",
                      text::quote(config.cwd));
  }
  config.user = request.user.empty() ? image.config.user : request.user;
  config.hostname = request.hostname;
  config.network = request.network.empty() ? "default" : request.network;
  addOptionRecords(request, config);
  config.capAdd = request.capAdd;
  config.capDrop = request.capDrop;
  config.privileged = request.privileged;
  config.securityOpt = recordedSecurityOptions(request.securityOpt, capabilitiesOf(config));
  config.groupAdd = request.groupAdd;
  for (const std::string& spec : request.addHost) config.extraHosts.push_back(parseExtraHost(spec));
  config.limits = request.limits;
  for (const std::string& spec : request.ulimits) {
    const store::UlimitRecord limit = parseUlimit(spec);
    std::erase_if(config.ulimits, [&](const auto& known) { return known.name == limit.name; });
    config.ulimits.push_back(limit);
  }
  config.tty = request.tty;
  config.openStdin = request.interactive;
  config.autoRemove = request.remove;
  config.readOnlyRoot = request.readOnly;
  config.init = request.init;
  config.umask = request.umask;
  config.stopSignal = request.stopSignal.empty() ? image.config.stopSignal : request.stopSignal;
  if (!config.stopSignal.empty()) parseSignal(config.stopSignal);
  config.stopTimeout = static_cast<int>(request.stopTimeout.value_or(10));
  config.labels = labelsOf(request, image.config);
  for (const std::string& annotation : request.annotations) {
    const auto [key, value] = splitAssignment(annotation);
    config.annotations[key] = value;
  }
  config.timeout = request.timeout.value_or(0);
  settleLog(request, config);
  config.volumesFrom = request.volumesFrom;
  config.idFile = request.cidFile;
  config.image = image.config;
  for (const std::string& port : request.expose) {
    builder::applyChange(config.image, "EXPOSE " + port);
  }
  for (const auto& [port, unused] : config.image.exposedPorts) config.exposedPorts.push_back(port);
  return config;
}

int parseSignal(std::string_view text) {
  if (const auto number = text::parseUnsigned(text); number && *number >= 1 && *number <= 64) {
    return static_cast<int>(*number);
  }
  if (const auto number = signalByName(text::upper(text))) return *number;
  throw Error::make(Kind::usage, "invalid signal: {}", text::escape(text));
}

}  // namespace img::cli
