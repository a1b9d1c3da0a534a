#include "cli/namespace_options.h"

#include <algorithm>
#include <limits>

#include "base/error.h"
#include "base/text.h"
#include "cli/values.h"
#include "runtime/paths.h"
#include "runtime/sysctls.h"

namespace img::cli {
namespace {

constexpr std::string_view kContainer = "container:";

Error badValue(std::string_view option, std::string_view value, std::string_view hint) {
  return Error::make(Kind::usage, "{}: {} is none of its modes", option, text::quote(value))
      .hint(std::string{hint});
}

void checkMode(std::string_view option, const std::string& value,
               std::initializer_list<std::string_view> known) {
  if (value.empty()) return;
  if (const auto name = joinedContainer(value); name && !name->empty()) {
    if (option != "--cgroupns") return;
  } else if (std::find(known.begin(), known.end(), value) != known.end()) {
    return;
  }
  std::string modes = text::join({known.begin(), known.end()}, ", ");
  if (option != "--cgroupns") modes += ", container:NAME";
  throw badValue(option, value, "it is one of " + modes);
}

std::uint32_t idOf(std::string_view option, std::string_view value) {
  const auto number = text::parseUnsigned(value);
  if (!number || *number >= std::numeric_limits<std::uint32_t>::max()) {
    throw Error::make(Kind::usage, "{}: {} is not an id", option, text::quote(value));
  }
  return static_cast<std::uint32_t>(*number);
}

// "size=4096" of auto, "uid=..,gid=.." of keep-id.
void applyUserOption(UserMode& mode, const std::string& word) {
  const auto [key, value] = splitAssignment(word);
  const std::uint32_t number = idOf("--userns", value);
  if (mode.kind == UserMode::Kind::automatic && key == "size") {
    constexpr std::uint32_t kLargest = 65536;
    if (number == 0 || number > kLargest) {
      throw Error::make(Kind::usage, "--userns auto: a size is 1 to {}", kLargest);
    }
    mode.size = number;
  } else if (mode.kind == UserMode::Kind::keepId && key == "uid") {
    mode.uid = number;
  } else if (mode.kind == UserMode::Kind::keepId && key == "gid") {
    mode.gid = number;
  } else {
    throw Error::make(Kind::usage, "--userns: unknown option {}", text::quote(word));
  }
}

bool overlap(std::uint64_t first, std::uint64_t count, std::uint64_t otherFirst,
             std::uint64_t otherCount) {
  return first < otherFirst + otherCount && otherFirst < first + count;
}

void checkOverlaps(std::string_view option, const std::vector<runtime::IdRange>& ranges) {
  for (size_t i = 0; i < ranges.size(); ++i) {
    for (size_t k = 0; k < i; ++k) {
      const runtime::IdRange& a = ranges[i];
      const runtime::IdRange& b = ranges[k];
      if (!overlap(a.inside, a.count, b.inside, b.count) &&
          !overlap(a.outside, a.count, b.outside, b.count)) {
        continue;
      }
      throw Error::make(Kind::usage, "{}: {}:{}:{} and {}:{}:{} overlap", option, b.inside,
                        b.outside, b.count, a.inside, a.outside, a.count);
    }
  }
}

runtime::IdRange parseRange(std::string_view option, const std::string& text) {
  const std::vector<std::string> fields = text::split(text, ':');
  if (fields.size() != 2 && fields.size() != 3) {
    throw Error::make(Kind::usage, "{}: {} is not INSIDE:OUTSIDE[:COUNT]", option,
                      text::quote(text));
  }
  runtime::IdRange range{idOf(option, fields[0]), idOf(option, fields[1]), 1};
  if (fields.size() == 3) range.count = idOf(option, fields[2]);
  constexpr std::uint64_t kEnd = std::numeric_limits<std::uint32_t>::max();
  const std::uint64_t last = std::max(range.inside, range.outside);
  if (range.count == 0 || last + range.count > kEnd) {
    throw Error::make(Kind::usage, "{}: {} has no ids, or goes beyond the last one", option,
                      text::quote(text));
  }
  return range;
}

bool isAccess(std::string_view text) {
  return !text.empty() && text.size() <= 3 &&
         text.find_first_not_of("rwm") == std::string_view::npos;
}

// Docker's words for it: the host's names are not the container's to choose.
void checkNames(const RunRequest& request) {
  const std::string& mode = request.namespaces.uts;
  if (mode.empty() || mode == "private") return;
  const char* option = !request.hostname.empty()                    ? "--hostname"
                       : !request.networkOptions.domainname.empty() ? "--domainname"
                                                                    : nullptr;
  if (option == nullptr) return;
  throw Error::make(Kind::usage, "conflicting options: {} and the UTS mode", option)
      .why(fmt::format("with --uts {} the name is somebody else's", text::escape(mode)));
}

// The namespaces as the options say, for the checks that need no machine.
runtime::Spec sketch(const RunRequest& request) {
  using From = runtime::Namespace::From;
  const NamespaceRequest& names = request.namespaces;
  runtime::Spec spec;
  const auto from = [](const std::string& mode) {
    if (mode == "host") return From::host;
    return joinedContainer(mode) ? From::other : From::own;
  };
  spec.ipc.from = from(names.ipc);
  spec.uts.from = from(names.uts);
  if (request.network == "host") spec.network = runtime::Network::host;
  const bool isJoined = joinedContainer(request.network) || request.network.starts_with("ns:");
  if (isJoined) spec.network = runtime::Network::join;
  const bool hasUser = !names.user.empty() && names.user != "host" && !joinedContainer(names.user);
  if (hasUser || !names.uidMap.empty()) spec.userNamespace.uids = {{0, 0, 1}};
  return spec;
}

}  // namespace

std::optional<std::string> joinedContainer(std::string_view mode) {
  if (!mode.starts_with(kContainer)) return std::nullopt;
  return std::string{mode.substr(kContainer.size())};
}

UserMode userModeOf(const store::NamespaceRecord& record) {
  using Mode = UserMode::Kind;
  constexpr const char* kHint =
      "it is one of host, auto[:size=N], keep-id[:uid=N,gid=N], nomap, container:NAME";
  const bool hasMaps = !record.uidMap.empty() || !record.gidMap.empty();
  const size_t colon = record.user.find(':');
  const std::string name = record.user.substr(0, colon);
  UserMode mode;
  if (hasMaps && !name.empty() && name != "private") {
    throw Error::make(Kind::usage, "--userns {} excludes --uidmap and --gidmap",
                      text::escape(record.user));
  }
  if (hasMaps) {
    mode.kind = Mode::mapped;
    return mode;
  }
  if (name.empty() || record.user == "host") return mode;
  if (const auto other = joinedContainer(record.user)) {
    if (other->empty()) throw badValue("--userns", record.user, kHint);
    mode.kind = Mode::container;
    return mode;
  }
  if (name == "auto") {
    mode.kind = Mode::automatic;
  } else if (name == "keep-id") {
    mode.kind = Mode::keepId;
  } else if (record.user == "nomap") {
    mode.kind = Mode::noMap;
  } else {
    throw badValue("--userns", record.user, kHint);
  }
  if (colon == std::string::npos) return mode;
  for (const std::string& word : text::split(record.user.substr(colon + 1), ',')) {
    applyUserOption(mode, word);
  }
  return mode;
}

std::vector<runtime::IdRange> parseIdMap(std::string_view option,
                                         const std::vector<std::string>& ranges) {
  std::vector<runtime::IdRange> map;
  map.reserve(ranges.size());
  for (const std::string& text : ranges) map.push_back(parseRange(option, text));
  checkOverlaps(option, map);
  return map;
}

runtime::UserNamespace mappedIds(const store::NamespaceRecord& record) {
  runtime::UserNamespace user;
  user.uids = parseIdMap("--uidmap", record.uidMap.empty() ? record.gidMap : record.uidMap);
  user.gids = parseIdMap("--gidmap", record.gidMap.empty() ? record.uidMap : record.gidMap);
  for (const auto& [option, map] : {std::pair{"--uidmap", &user.uids}, {"--gidmap", &user.gids}}) {
    const bool hasRoot =
        std::any_of(map->begin(), map->end(), [](const auto& range) { return range.inside == 0; });
    if (hasRoot) continue;
    throw Error::make(Kind::usage, "{}: no range holds the id 0 of the container", option)
        .hint("its root builds the container: map 0 as well");
  }
  return user;
}

void checkNamespaceOptions(const RunRequest& request) {
  const NamespaceRequest& names = request.namespaces;
  checkMode("--pid", names.pid, {"private", "host"});
  checkMode("--ipc", names.ipc, {"private", "shareable", "none", "host"});
  checkMode("--uts", names.uts, {"private", "host"});
  checkMode("--cgroupns", names.cgroup, {"private", "host"});
  checkNames(request);
  const store::NamespaceRecord record = namespaceRecord(names);
  if (userModeOf(record).kind == UserMode::Kind::mapped) mappedIds(record);
  runtime::Spec spec = sketch(request);
  for (const std::string& text : request.sysctls) spec.sysctls.push_back(parseSysctl(text));
  try {
    runtime::checkSysctls(spec);
  } catch (Error& error) {
    throw error.prefixCause("--sysctl: ");
  }
  for (const std::string& text : request.devices) parseDevice(text);
}

std::pair<std::string, std::string> parseSysctl(std::string_view text) {
  auto [key, value] = splitAssignment(text);
  if (key.empty() || text.find('=') == std::string_view::npos) {
    throw Error::make(Kind::usage, "--sysctl: {} is not KEY=VALUE", text::quote(text));
  }
  return {std::move(key), std::move(value)};
}

store::DeviceRecord parseDevice(std::string_view text) {
  store::DeviceRecord device{"", "", "rwm"};
  if (!text.starts_with('/')) {
    if (text.find('=') == std::string_view::npos) {
      throw Error::make(Kind::usage, "--device: {} is not an absolute path", text::quote(text));
    }
    device.source = text;
    return device;
  }
  const std::vector<std::string> fields = text::split(text, ':');
  const auto bad = [&](std::string_view why) {
    return Error::make(Kind::usage, "--device: {} is not SOURCE[:PATH[:rwm]]", text::quote(text))
        .why(std::string{why});
  };
  if (fields.size() > 3) throw bad("it has more than three parts");
  device.source = device.destination = fields[0];
  const bool endsWithAccess = fields.size() == 3 || (fields.size() == 2 && isAccess(fields[1]));
  if (fields.size() == 3 || (fields.size() == 2 && !endsWithAccess)) {
    device.destination = fields[1];
  }
  if (endsWithAccess) device.access = fields.back();
  if (!isAccess(device.access)) throw bad("the access is of the letters r, w and m");
  device.destination = runtime::cleanPath(device.destination);
  if (!fields[0].starts_with('/') || !device.destination.starts_with("/dev/")) {
    throw bad("devices of a container are below /dev");
  }
  return device;
}

store::NamespaceRecord namespaceRecord(const NamespaceRequest& request) {
  store::NamespaceRecord record;
  record.pid = request.pid;
  record.ipc = request.ipc;
  record.uts = request.uts;
  record.user = request.user;
  record.cgroup = request.cgroup;
  record.uidMap = request.uidMap;
  record.gidMap = request.gidMap;
  record.monotonicOffset = request.monotonicOffset;
  record.boottimeOffset = request.boottimeOffset;
  return record;
}

void recordNamespaces(const RunRequest& request, store::ContainerConfig& config) {
  for (const std::string& text : request.sysctls) config.sysctls.push_back(parseSysctl(text));
  for (const std::string& text : request.devices) config.devices.push_back(parseDevice(text));
  config.namespaces = namespaceRecord(request.namespaces);
}

}  // namespace img::cli
