#include "cli/build_step_options.h"

#include <arpa/inet.h>

#include <algorithm>

#include "base/environment.h"
#include "base/fs.h"
#include "base/sys.h"
#include "base/text.h"
#include "cli/container_config.h"
#include "cli/container_mounts.h"
#include "cli/container_spec.h"
#include "cli/mount_options.h"
#include "cli/run_options.h"
#include "cli/security_options.h"
#include "cli/values.h"
#include "runtime/cgroups.h"
#include "runtime/security.h"

namespace img::cli {
namespace {

constexpr size_t kMaxSecret = size_t{500} << 10;  // BuildKit's, session/secrets

std::string readSecretFile(const std::string& id, const std::string& path) {
  const auto file = sys::tryOpenat(AT_FDCWD, path, O_RDONLY | O_NONBLOCK);
  if (!file) {
    throw Error::make(Kind::notFound, "--secret id={}: no file {}", text::escape(id),
                      text::quote(path));
  }
  const mode_t mode = sys::fstat(file->get()).st_mode;
  if (!S_ISREG(mode) && !S_ISFIFO(mode)) {  // a FIFO: `src=<(command)`
    throw Error::make(Kind::usage, "--secret id={}: {} is not a file", text::escape(id),
                      text::quote(path));
  }
  sys::setNonBlocking(file->get(), false);
  return readAll(file->get(), path, kMaxSecret);
}

std::string readSecretVariable(const std::string& id, const std::string& name) {
  if (auto value = findVariable(name)) return std::move(*value);
  throw Error::make(Kind::notFound, "--secret id={}: the variable {} is not set", text::escape(id),
                    text::quote(name));
}

void checkAddress(const std::string& text) {
  unsigned char address[sizeof(in6_addr)];
  if (::inet_pton(AF_INET, text.c_str(), address) == 1) return;
  if (::inet_pton(AF_INET6, text.c_str(), address) == 1) return;
  throw Error::make(Kind::usage, "--dns: {} is not an IP address", text::quote(text));
}

void checkWord(const std::string& text, const char* option) {
  if (text.empty() || text.find_first_of(" \t\n") != std::string::npos)
    throw Error::make(Kind::usage, "{}: {} is not one word", option, text::quote(text));
}

}  // namespace

builder::Secret parseSecret(const std::string& text) {
  std::string id, type;
  std::optional<std::string> source, variable;
  for (const auto& [key, value] : parseCsvFields(text, "--secret")) {
    if (key == "id") {
      id = value;
    } else if (key == "type") {
      type = value;
    } else if (key == "src" || key == "source") {
      source = value;
    } else if (key == "env") {
      variable = value;
    } else {
      throw Error::make(Kind::usage, "--secret: unknown field {}", text::quote(key))
          .hint("the fields are id, src, env and type");
    }
  }
  if (id.empty()) throw Error::make(Kind::usage, "--secret {}: no id", text::quote(text));
  if (!type.empty() && type != "file" && type != "env") {
    throw Error::make(Kind::usage, "--secret: unknown type {}", text::quote(type))
        .hint("the types are file and env");
  }
  if (source && variable)
    throw Error::make(Kind::usage, "--secret id={}: src and env exclude each other",
                      text::escape(id));
  // docker/cli: without a type, `src` is a file; without both, a variable of that name comes first.
  if (type == "env" && !variable) variable = source.value_or(id);
  if (variable) return {id, readSecretVariable(id, *variable)};
  if (!source && type.empty()) {
    if (auto value = findVariable(id)) return {id, std::move(*value)};
  }
  return {id, readSecretFile(id, source.value_or(id))};
}

builder::SshAgentSource parseSshAgent(const std::string& text) {
  const auto [id, paths] = splitAssignment(text);
  if (id.empty()) throw Error::make(Kind::usage, "--ssh {}: no id", text::quote(text));
  builder::SshAgentSource agent;
  agent.id = id;
  if (paths.empty()) {
    agent.socket = variableOrEmpty("SSH_AUTH_SOCK");
    if (agent.socket.empty()) {
      throw Error::make(Kind::notFound, "--ssh {}: SSH_AUTH_SOCK is not set", text::escape(id))
          .hint(fmt::format("start an agent, or name a key with --ssh {}=FILE", text::escape(id)));
    }
  }
  for (const std::string& path :
       paths.empty() ? std::vector<std::string>{} : text::split(paths, ','))
    agent.keyFiles.push_back(path);
  const auto isSocket = [](const std::string& path) {
    const auto file = sys::tryOpenat(AT_FDCWD, path, O_PATH);
    if (!file) throw Error::make(Kind::notFound, "--ssh: no file {}", text::quote(path));
    return S_ISSOCK(sys::fstat(file->get()).st_mode);
  };
  if (!agent.socket.empty() && !isSocket(agent.socket)) {
    throw Error::make(Kind::usage, "--ssh {}: {} is not a socket", text::escape(id),
                      text::quote(agent.socket));
  }
  const auto sockets = std::count_if(agent.keyFiles.begin(), agent.keyFiles.end(), isSocket);
  if (sockets == 0) return agent;
  if (agent.keyFiles.size() > 1) {
    throw Error::make(Kind::usage, "--ssh {}: one socket, or files with keys", text::escape(id));
  }
  agent.socket = agent.keyFiles.front();
  agent.keyFiles.clear();
  return agent;
}

builder::HostMount parseHostMount(const std::string& text) {
  // `O` is podman's throw-away overlay; all else as for `run`.
  std::vector<std::string> parts = text::split(text, ':');
  builder::HostMount mount;
  if (parts.size() == 3) {
    std::vector<std::string> options = text::split(parts[2], ',');
    const auto end = std::remove(options.begin(), options.end(), "O");
    mount.isThrowaway = end != options.end();
    options.erase(end, options.end());
    parts[2] = text::join(options, ",");
    if (parts[2].empty()) parts.pop_back();
  }
  const MountRequest request = parseVolume(text::join(parts, ":"));
  if (request.type != MountRequest::Type::bind)
    throw Error::make(Kind::usage, "--volume {}: a build takes folders of the host only",
                      text::quote(text));
  mount.source = resolveHostPath(request.source);
  mount.target = request.destination;
  mount.readOnly = request.readOnly;
  return mount;
}

void takeResource(store::LimitRecord& limits, const std::string& text) {
  const auto [key, value] = splitAssignment(text);
  const auto number = [&, &name = key, &given = value]() -> long long {
    const auto parsed = text::parseUnsigned(given);
    if (!parsed || *parsed > (1ULL << 62))
      throw Error::make(Kind::usage, "--resource {}: {} is not a number", name, text::quote(given));
    return static_cast<long long>(*parsed);
  };
  if (key == "memory") {
    limits.memory = parseSize(value, "--resource memory");
  } else if (key == "memory-swap") {
    limits.memorySwap = value == "-1" ? -1 : parseSize(value, "--resource memory-swap");
  } else if (key == "cpu-shares") {
    limits.cpuShares = number();
  } else if (key == "cpu-period") {
    limits.cpuPeriod = number();
  } else if (key == "cpu-quota") {
    limits.cpuQuota = number();
  } else if (key == "cpuset-cpus") {
    limits.cpusetCpus = value;
  } else {
    throw Error::make(Kind::usage, "--resource: unknown resource {}", text::quote(key))
        .hint("memory, memory-swap, cpu-shares, cpu-period, cpu-quota or cpuset-cpus");
  }
}

void StepOptionTable::addTo(Options& options) {
  options.group("Secrets")
      .list("--secret", secrets, "id=ID[,src=FILE|env=VAR]", "For RUN --mount=type=secret")
      .list("--ssh", agents, "default|ID[=SOCKET|KEY[,KEY]]", "For RUN --mount=type=ssh")
      .text("--secret-guard", secretGuard, "off|warn|error",
            "What to do when the image would hold a secret");
  options.group("RUN steps")
      .list("--cap-add", capAdd, "CAP", "Add a capability")
      .list("--cap-drop", capDrop, "CAP", "Drop a capability")
      .list("--security-opt", securityOpt, "OPTION", "seccomp=FILE, no-new-privileges, ...")
      .list("--device", devices, "SRC[:DST[:rwm]]", "A device of the host, or a CDI name")
      .list("-v,--volume", volumes, "SOURCE:PATH[:ro|O]", "Mount a folder of the host")
      .list("--dns", dns, "IP", "Name server")
      .list("--dns-search", dnsSearch, "DOMAIN", "Domain to search in")
      .list("--dns-option", dnsOptions, "OPTION", "Option of resolv.conf")
      .text("--cgroup-parent", cgroupParent, "PATH", "Parent of the steps' cgroups")
      .size("--shm-size", shmSize, "Size of /dev/shm (64m)")
      .list("--resource", resources, "K=V", "A limit: memory=512m, cpu-quota=50000, ...");
  addLimitOptions(options, limits, ulimits);
}

void StepOptionTable::applySecrets(builder::StepOptions& step) const {
  for (const std::string& text : secrets) {
    builder::Secret secret = parseSecret(text);
    std::erase_if(step.secrets, [&](const auto& known) { return known.id == secret.id; });
    step.secrets.push_back(std::move(secret));
  }
  for (const std::string& text : agents) {
    builder::SshAgentSource agent = parseSshAgent(text);
    std::erase_if(step.agents, [&](const auto& known) { return known.id == agent.id; });
    step.agents.push_back(std::move(agent));
  }
  using Guard = builder::StepOptions::Guard;
  if (secretGuard != "off" && secretGuard != "warn" && secretGuard != "error")
    throw Error::make(Kind::usage, "--secret-guard {}: use off, warn or error",
                      text::quote(secretGuard));
  step.secretGuard = secretGuard == "off"    ? Guard::off
                     : secretGuard == "warn" ? Guard::warn
                                             : Guard::error;
}

void StepOptionTable::applyLimits(builder::StepOptions& step) {
  for (const std::string& text : resources) takeResource(limits, text);
  checkLimits(limits);
  step.limits = limitsOf(limits);
  if (shmSize && *shmSize <= 0) throw Error{Kind::usage, "--shm-size: must be more than 0"};
  if (shmSize) step.shmSize = static_cast<std::uint64_t>(*shmSize);
  std::vector<store::UlimitRecord> records;
  for (const std::string& text : ulimits) records.push_back(parseUlimit(text));
  step.resourceLimits = resourceLimitsOf(records);
  step.ulimits = ulimits;
  std::sort(step.ulimits.begin(), step.ulimits.end());
  if (!cgroupParent.empty()) runtime::checkCgroupParent(cgroupParent);
  step.cgroupParent = cgroupParent;
}

void StepOptionTable::applyRights(builder::StepOptions& step) const {
  std::ignore = runtime::capabilitySet(0, capAdd, capDrop);  // throws for unknown names
  step.capAdd = capAdd;
  step.capDrop = capDrop;
  const std::uint64_t base = parseSecurityOptions(securityOpt).confinement->capabilities;
  const SecurityOptions security = parseSecurityOptions(
      recordedSecurityOptions(securityOpt, runtime::capabilitySet(base, capAdd, capDrop)));
  step.capabilities = base;
  // Not by confinement=strict: USER app and RUN sudo are common (security.md P2).
  step.noNewPrivs = security.noNewPrivs.value_or(false);
  step.isSeccompUnconfined = security.isSeccompOff;
  step.seccompProfile = security.seccompProfile;
  step.only64Bit = security.only64Bit;
  step.maskedPaths = security.maskedPaths;
  step.unmaskedPaths = security.unmaskedPaths;
  if (security.appArmor != "unconfined") step.appArmor = security.appArmor;
  step.devices = devices;
}

void StepOptionTable::apply(Context& context, builder::Request& request) {
  builder::StepOptions& step = request.step;
  applySecrets(step);
  applyLimits(step);
  applyRights(step);
  for (const std::string& address : dns) checkAddress(address);
  for (const std::string& word : dnsSearch) checkWord(word, "--dns-search");
  for (const std::string& word : dnsOptions) checkWord(word, "--dns-option");
  step.dns = dns;
  step.dnsSearch = dnsSearch;
  step.dnsOptions = dnsOptions;
  for (const std::string& text : volumes) step.volumes.push_back(parseHostMount(text));
  if (!volumes.empty())
    context.notice("warning: files of --volume are not part of the cache key\n");
}

}  // namespace img::cli
