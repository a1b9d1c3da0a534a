#include "builder/step_devices.h"

#include <linux/mount.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/fs.h"
#include "base/json.h"
#include "base/sys.h"
#include "base/text.h"
#include "parser/value_checks.h"

namespace img::builder {
namespace {

constexpr size_t kMaxFile = size_t{1} << 20;

bool isTrue(const std::string& value) {
  static constexpr std::string_view kTrue[] = {"1", "t", "T", "TRUE", "true", "True"};
  return std::find(std::begin(kTrue), std::end(kTrue), value) != std::end(kTrue);
}

bool isFalse(const std::string& value) {
  static constexpr std::string_view kFalse[] = {"0", "f", "F", "FALSE", "false", "False"};
  return std::find(std::begin(kFalse), std::end(kFalse), value) != std::end(kFalse);
}

// One CDI file (container-orchestrated-devices, SPEC.md) that describes the device's kind.
struct Found {
  Json document, device;
};

// `name` is "KIND=DEVICE", or "KIND" alone for the first device of the kind.
std::optional<Json> deviceIn(const Json& document, const std::string& name) {
  const size_t equals = name.find('=');
  if (document.value("kind", "") != name.substr(0, equals)) return std::nullopt;
  for (const Json& device : document.value("devices", Json::array())) {
    const bool isWanted =
        equals == std::string::npos || device.value("name", "") == name.substr(equals + 1);
    if (isWanted) return device;
  }
  return std::nullopt;
}

struct Search {
  std::optional<Found> found;
  std::string unread;  // a file in YAML
};

Search findDevice(const std::string& name, const std::vector<std::string>& folders) {
  Search search;
  for (const std::string& path : folders) {
    const auto folder = sys::tryOpenat(AT_FDCWD, path, O_RDONLY | O_DIRECTORY);
    if (!folder) continue;
    for (const fs::Entry& entry : fs::listSorted(folder->get())) {
      const std::string file = path + "/" + entry.name;
      if (entry.name.ends_with(".yaml") || entry.name.ends_with(".yml")) search.unread = file;
      if (!entry.name.ends_with(".json")) continue;
      Json document = parseJson(fs::readFile(folder->get(), entry.name, kMaxFile), file);
      if (auto device = deviceIn(document, name))
        search.found = Found{std::move(document), std::move(*device)};
    }
  }
  return search;
}

runtime::DeviceNode nodeOfHost(const std::string& hostPath, const std::string& path) {
  const auto handle = sys::tryOpenat(AT_FDCWD, hostPath, O_PATH);
  if (!handle)
    throw Error::make(Kind::notFound, "no device {} on this machine", text::quote(hostPath));
  const struct stat st = sys::fstat(handle->get());
  if (!S_ISCHR(st.st_mode) && !S_ISBLK(st.st_mode))
    throw Error::make(Kind::failed, "{} is not a device", text::quote(hostPath));
  runtime::DeviceNode node;
  node.path = path;
  node.type = st.st_mode & (S_IFMT | 07777);
  node.device = st.st_rdev;
  node.uid = st.st_uid;
  node.gid = st.st_gid;
  return node;
}

void addNode(runtime::Spec& spec, const Json& edit) {
  const std::string path = edit.value("path", "");
  const std::string type = edit.value("type", "");
  runtime::DeviceNode node;
  if (edit.contains("major") && !type.empty()) {
    const mode_t kind = type == "b" ? S_IFBLK : type == "p" ? S_IFIFO : S_IFCHR;
    node.path = path;
    node.type = kind | 0600;
    node.device = makedev(edit.at("major").get<unsigned>(), edit.value("minor", 0U));
  } else {
    node = nodeOfHost(edit.value("hostPath", path), path);
  }
  if (edit.contains("fileMode"))
    node.type = (node.type & S_IFMT) | (edit.at("fileMode").get<mode_t>() & 0777);
  node.uid = edit.value("uid", node.uid);
  node.gid = edit.value("gid", node.gid);
  spec.devices.push_back(std::move(node));
}

void addMount(runtime::Spec& spec, const Json& edit) {
  const std::vector<std::string> options = edit.value("options", std::vector<std::string>{});
  const auto has = [&](std::string_view option) {
    return std::find(options.begin(), options.end(), option) != options.end();
  };
  runtime::Mount mount;
  mount.target = edit.value("containerPath", "");
  mount.source = sys::openat(AT_FDCWD, edit.value("hostPath", ""), O_PATH);
  mount.readOnly = has("ro");
  if (has("nosuid")) mount.attributes |= MOUNT_ATTR_NOSUID;
  if (has("nodev")) mount.attributes |= MOUNT_ATTR_NODEV;
  if (has("noexec")) mount.attributes |= MOUNT_ATTR_NOEXEC;
  spec.mounts.push_back(std::move(mount));
}

void applyEdits(runtime::Spec& spec, const Json& edits, const std::string& name) {
  if (edits.contains("hooks") && !edits.at("hooks").empty()) {
    throw Error::make(Kind::unsupported, "the device {} needs hooks, which are not run",
                      text::quote(name));
  }
  for (const Json& variable : edits.value("env", Json::array()))
    spec.env.push_back(variable.get<std::string>());
  for (const Json& node : edits.value("deviceNodes", Json::array())) addNode(spec, node);
  for (const Json& mount : edits.value("mounts", Json::array())) addMount(spec, mount);
  for (const Json& gid : edits.value("additionalGids", Json::array()))
    spec.groupAdd.push_back(std::to_string(gid.get<unsigned>()));
}

}  // namespace

DeviceRequest parseDeviceRequest(const std::string& text) {
  const auto fields = parser::splitCsv(text);
  DeviceRequest request;
  for (const std::string& field : fields.value_or(std::vector<std::string>{})) {
    const size_t equals = field.find('=');
    const std::string key = text::lower(field.substr(0, equals));
    const std::string value = equals == std::string::npos ? "true" : field.substr(equals + 1);
    if (key == "name" && equals != std::string::npos) {
      request.name = value;
    } else if (key == "required") {
      if (!isTrue(value) && !isFalse(value)) {
        throw Error::make(Kind::failed, "RUN: device option \"required\": bad value {}",
                          text::quote(value));
      }
      request.isRequired = isTrue(value);
    } else if (request.name.empty()) {
      request.name = field;  // "vendor.com/class=device" has an = of its own
    } else {
      throw Error::make(Kind::failed, "RUN: unknown device option {}", text::quote(key));
    }
  }
  if (request.name.empty())
    throw Error::make(Kind::failed, "RUN: --device {} names no device", text::quote(text));
  return request;
}

std::vector<std::string> cdiFolders() {
  return {"/etc/cdi", "/run/cdi"};
}

void addCdiDevice(runtime::Spec& spec, const DeviceRequest& device,
                  const std::vector<std::string>& folders) try {
  const Search search = findDevice(device.name, folders);
  if (!search.found) {
    if (!device.isRequired) return;
    Error error = Error::make(Kind::notFound, "no CDI file describes the device {}",
                              text::quote(device.name));
    error.why(fmt::format("looked in {}", text::join(folders, ", ")));
    if (!search.unread.empty())
      error.hint(fmt::format("only JSON is read; {} is YAML: convert it", search.unread));
    throw error;
  }
  const Json none = Json::object();
  applyEdits(spec, search.found->document.value("containerEdits", none), device.name);
  applyEdits(spec, search.found->device.value("containerEdits", none), device.name);
} catch (const nlohmann::json::exception& error) {
  throw Error::make(Kind::corrupt, "the CDI file of the device {}: {}", text::quote(device.name),
                    error.what());
}

void addHostDevice(runtime::Spec& spec, const std::string& text,
                   const std::vector<std::string>& folders) {
  if (!text.starts_with('/')) return addCdiDevice(spec, {text, true}, folders);
  const std::vector<std::string> parts = text::split(text, ':');
  const bool hasTarget = parts.size() > 1 && parts[1].starts_with('/');
  spec.devices.push_back(nodeOfHost(parts[0], hasTarget ? parts[1] : parts[0]));
}

}  // namespace img::builder
