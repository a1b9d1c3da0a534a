#include "cli/container_facts.h"

#include <algorithm>
#include <array>

#include "base/error.h"
#include "base/text.h"
#include "cli/human.h"
#include "cli/lists.h"
#include "cli/network_options.h"
#include "cli/port_options.h"
#include "cli/values.h"

namespace img::cli {
namespace {

using Status = store::ContainerState::Status;

constexpr size_t kCommandColumns = 20;
constexpr std::array<std::string_view, 15> kKinds = {
    "id",    "name",  "label",  "label!",  "exited", "status", "ancestor", "before",
    "since", "until", "volume", "network", "health", "expose", "publish"};
constexpr std::array<std::string_view, 7> kStatuses = {
    "created", "running", "paused", "restarting", "removing", "exited", "dead"};
constexpr std::array<std::string_view, 4> kHealth = {"none", "starting", "healthy", "unhealthy"};

template <class Array>
bool isOneOf(const Array& known, std::string_view word) {
  return std::find(known.begin(), known.end(), word) != known.end();
}

// The image by its name with or without a tag, or by its id.
bool matchesAncestor(const std::string& wanted, const store::ContainerConfig& config) {
  const std::string id = config.imageId.hex();
  const std::string hex = wanted.starts_with("sha256:") ? wanted.substr(7) : wanted;
  if (hex.size() >= 12 && id.starts_with(hex)) return true;
  const auto withTag = [](const std::string& name) {
    const size_t slash = name.rfind('/');
    const size_t colon = name.find(':', slash == std::string::npos ? 0 : slash);
    return colon == std::string::npos ? name + ":latest" : name;
  };
  return withTag(wanted) == withTag(config.imageName);
}

bool matchesVolume(const std::string& wanted, const std::vector<store::MountRecord>& mounts) {
  return std::any_of(mounts.begin(), mounts.end(), [&](const store::MountRecord& mount) {
    return wanted == mount.name || wanted == mount.destination || wanted == mount.source;
  });
}

bool isExposed(const std::string& wanted, const store::ContainerConfig& config) {
  const PortRange range = parsePortRange(wanted, "--filter expose");
  const auto isInRange = [&](const std::string& text) {
    const PortRange port = parsePortRange(text, "EXPOSE");
    return range.contains(port.first, port.protocol);
  };
  const std::vector<store::PortRecord>& published = config.networkOptions.ports;
  return std::any_of(config.exposedPorts.begin(), config.exposedPorts.end(), isInRange) ||
         std::any_of(published.begin(), published.end(), [&](const store::PortRecord& port) {
           return range.contains(port.containerPort, port.protocol);
         });
}

bool isPublished(const std::string& wanted, const store::ContainerState& state) {
  const PortRange range = parsePortRange(wanted, "--filter publish");
  return state.isAlive() &&
         std::any_of(state.ports.begin(), state.ports.end(), [&](const store::PortRecord& port) {
           return range.contains(port.hostPort, port.protocol);
         });
}

bool matches(const std::string& kind, const std::string& wanted,
             const store::ContainerRecord& record) {
  const store::ContainerConfig& config = record.config;
  const store::ContainerState& state = record.state;
  if (kind == "id") return config.id.starts_with(wanted);
  if (kind == "name") return config.name.find(wanted) != std::string::npos;
  if (kind == "label") return matchesLabel(wanted, config.labels);
  if (kind == "label!") return !matchesLabel(wanted, config.labels);
  if (kind == "exited")
    return state.status == Status::exited && std::to_string(state.exitCode) == wanted;
  if (kind == "status") return store::statusName(state.status) == wanted;
  if (kind == "ancestor") return matchesAncestor(wanted, config);
  if (kind == "before") return store::sortableTime(config.createdAt) < wanted;
  if (kind == "until")
    return text::parseTimeSeconds(config.createdAt).value_or(0) < std::stoll(wanted);
  if (kind == "since") return store::sortableTime(config.createdAt) > wanted;
  if (kind == "volume") return matchesVolume(wanted, config.mounts);
  if (kind == "network") return config.network == wanted || networkName(config) == wanted;
  if (kind == "expose") return isExposed(wanted, config);
  if (kind == "publish") return isPublished(wanted, state);
  return wanted == (state.healthStatus.empty() ? "none" : state.healthStatus);  // health
}

// As docker shows it.
std::string healthText(const store::ContainerState& state) {
  if (state.healthStatus.empty()) return {};
  if (state.healthStatus == "starting") return " (health: starting)";
  return " (" + state.healthStatus + ")";
}

}  // namespace

std::string statusText(const store::ContainerState& state, long long now) {
  const auto ageSince = [&](const std::string& time) {
    return formatAge(now - text::parseTimeSeconds(time).value_or(now));
  };
  switch (state.status) {
    case Status::created: return "Created";
    case Status::running: return "Up " + ageSince(state.startedAt) + healthText(state);
    case Status::paused: return "Up " + ageSince(state.startedAt) + " (Paused)";
    case Status::restarting:
      return fmt::format("Restarting ({}) {} ago", state.exitCode, ageSince(state.finishedAt));
    case Status::exited: break;
  }
  return fmt::format("Exited ({}) {} ago", state.exitCode, ageSince(state.finishedAt));
}

std::string commandText(const std::vector<std::string>& argv, bool noTrunc) {
  // As docker writes it: words with blanks in single quotes, and the whole as a Go string.
  std::string command;
  for (const std::string& word : argv) {
    if (!command.empty()) command += ' ';
    command +=
        word.find(' ') == std::string::npos || &word == &argv.front() ? word : "'" + word + "'";
  }
  if (!noTrunc) command = ellipsis(command, kCommandColumns);
  std::string quoted = "\"";
  for (const char c : command) {
    if (c == '\n') {
      quoted += "\\n";
    } else if (c == '\t') {
      quoted += "\\t";
    } else {
      if (c == '"' || c == '\\') quoted += '\\';
      quoted += c;
    }
  }
  return quoted + "\"";
}

void ContainerFilter::add(std::string_view text) {
  const auto [kind, value] = splitAssignment(text);
  if (!isOneOf(kKinds, kind)) {
    throw Error::make(Kind::usage, "unknown filter {}", text::quote(text))
        .hint("filters are " + text::join({kKinds.begin(), kKinds.end()}, ", "));
  }
  if (kind == "status" && !isOneOf(kStatuses, value)) {
    throw Error::make(Kind::usage, "--filter status: unknown state {}", text::quote(value))
        .hint("states are " + text::join({kStatuses.begin(), kStatuses.end()}, ", "));
  }
  if (kind == "health" && !isOneOf(kHealth, value)) {
    throw Error::make(Kind::usage, "--filter health: unknown state {}", text::quote(value))
        .hint("states are " + text::join({kHealth.begin(), kHealth.end()}, ", "));
  }
  if (kind == "expose" || kind == "publish") parsePortRange(value, "--filter " + kind);
  if (kind == "exited" && !text::parseUnsigned(value)) {
    throw Error::make(Kind::usage, "--filter exited: {} is not an exit code", text::quote(value));
  }
  values_[kind].push_back(value);
}

std::vector<std::string> ContainerFilter::wanted(const std::string& kind) const {
  const auto found = values_.find(kind);
  return found == values_.end() ? std::vector<std::string>{} : found->second;
}

void ContainerFilter::resolve(const std::string& kind, std::vector<std::string> values) {
  values_[kind] = std::move(values);
}

bool ContainerFilter::passes(const store::ContainerRecord& record) const {
  return std::all_of(values_.begin(), values_.end(), [&](const auto& filter) {
    const auto& kind = filter.first;
    const auto& values = filter.second;
    const auto isMatch = [&](const std::string& value) { return matches(kind, value, record); };
    if (kind == "label" || kind == "label!")
      return std::all_of(values.begin(), values.end(), isMatch);
    return std::any_of(values.begin(), values.end(), isMatch);
  });
}

ContainerFilter readContainerFilter(const store::Containers& containers,
                                    const std::vector<std::string>& texts) {
  ContainerFilter filter;
  for (const std::string& text : texts) filter.add(text);
  for (const char* kind : {"before", "since"}) {
    std::vector<std::string> times;
    for (const std::string& name : filter.wanted(kind)) {
      times.push_back(store::sortableTime(containers.get(name).config.createdAt));
    }
    if (!times.empty()) filter.resolve(kind, std::move(times));
  }
  std::vector<std::string> ends;
  for (const std::string& time : filter.wanted("until")) {
    ends.push_back(std::to_string(parseTime(time, nowSeconds(), "--filter until")));
  }
  if (!ends.empty()) filter.resolve("until", std::move(ends));
  return filter;
}

}  // namespace img::cli
