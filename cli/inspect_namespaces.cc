#include "cli/inspect_namespaces.h"

#include <fcntl.h>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/fs.h"
#include "runtime/subordinate_ids.h"

namespace img::cli {
namespace {

std::string orElse(const std::string& text, const char* otherwise) {
  return text.empty() ? otherwise : text;
}

// Docker writes nothing for a namespace of its own.
std::string ownIsEmpty(const std::string& mode) {
  return mode == "private" ? "" : mode;
}

std::string userModeText(const store::NamespaceRecord& names) {
  const bool hasMaps = !names.uidMap.empty() || !names.gidMap.empty();
  return orElse(names.user, hasMaps ? "private" : "");
}

Json devicesOf(const std::vector<store::DeviceRecord>& devices) {
  Json list = Json::array();
  for (const store::DeviceRecord& device : devices) {
    list.push_back({{"PathOnHost", device.source},
                    {"PathInContainer", device.destination},
                    {"CgroupPermissions", device.access}});
  }
  return list;
}

Json sysctlsOf(const store::ContainerConfig& config) {
  Json found = Json::object();
  for (const auto& [key, value] : config.sysctls) found[key] = value;
  return found.empty() ? Json() : found;
}

// As podman shows them, of the namespace as it is now: the ranges of --userns auto change with
// every start.
Json idMappings(const store::ContainerState& state) {
  if (!state.isAlive()) return {};
  Json maps = Json::object();
  for (const auto& [key, file] : {std::pair{"UidMap", "uid_map"}, {"GidMap", "gid_map"}}) {
    const auto text = fs::tryReadFile(AT_FDCWD, fmt::format("/proc/{}/{}", state.pid, file));
    if (!text) return {};
    maps[key] = Json::array();
    for (const auto& line : runtime::parseIdMap(*text)) {
      maps[key].push_back(fmt::format("{}:{}:{}", line.inside, line.outside, line.count));
    }
  }
  return maps;
}

}  // namespace

Json namespaceFacts(const store::ContainerConfig& config, const store::ContainerState& state) {
  const store::NamespaceRecord& names = config.namespaces;
  return {{"IpcMode", orElse(names.ipc, "shareable")},
          {"PidMode", ownIsEmpty(names.pid)},
          {"UTSMode", ownIsEmpty(names.uts)},
          {"UsernsMode", userModeText(names)},
          {"CgroupnsMode", orElse(names.cgroup, "private")},
          {"IDMappings", idMappings(state)},
          {"Devices", devicesOf(config.devices)},
          {"Sysctls", sysctlsOf(config)},
          {"OomScoreAdj", config.limits.oomScoreAdj.value_or(0)}};
}

}  // namespace img::cli
