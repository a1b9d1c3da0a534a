// --pid, --ipc, --uts, --userns, --cgroupns, --uidmap, --gidmap, --sysctl and --device as values:
// what they may say and which go together (cli.md 10.1). Whether the other container runs is asked
// when the container starts (container_namespaces.h).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "cli/run_options.h"
#include "runtime/spec.h"
#include "store/containers.h"

namespace img::cli {

// Of "container:NAME"; nullopt for any other mode.
std::optional<std::string> joinedContainer(std::string_view mode);

struct UserMode {
  enum class Kind { host, automatic, keepId, noMap, container, mapped };
  Kind kind = Kind::host;
  std::uint32_t size = 65536;             // auto:size=
  std::optional<std::uint32_t> uid, gid;  // keep-id:uid=,gid=
};
// --userns with --uidmap and --gidmap beside it. Throws Kind::usage.
UserMode userModeOf(const store::NamespaceRecord& record);

// "0:100000:65536" or "0:100000", one id. Throws Kind::usage for ranges that overlap.
std::vector<runtime::IdRange> parseIdMap(std::string_view option,
                                         const std::vector<std::string>& ranges);
// The two maps; one that is not given is the other one.
runtime::UserNamespace mappedIds(const store::NamespaceRecord& record);

// The options of `run` and `create` together. Throws Kind::usage.
void checkNamespaceOptions(const RunRequest& request);

// "net.core.somaxconn=1024".
std::pair<std::string, std::string> parseSysctl(std::string_view text);
// "/dev/fuse", "/dev/sda:/dev/xvda:r", "/dev/fuse:rw", a folder, or a name of the Container Device
// Interface ("vendor.com/class=name"), which has no destination.
store::DeviceRecord parseDevice(std::string_view text);

store::NamespaceRecord namespaceRecord(const NamespaceRequest& request);
// Fills the record of a container from its options.
void recordNamespaces(const RunRequest& request, store::ContainerConfig& config);

}  // namespace img::cli
