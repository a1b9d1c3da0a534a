#include "cli/mount_options.h"

#include <algorithm>

#include "base/error.h"
#include "base/text.h"
#include "cli/values.h"
#include "store/container_names.h"

namespace img::cli {
namespace {

using Type = MountRequest::Type;

Error badSpec(std::string_view option, std::string_view spec, std::string_view why) {
  return Error::make(Kind::usage, "{} {}: {}", option, text::quote(spec), why);
}

bool isPath(std::string_view source) {
  return source.starts_with('/') || source.starts_with("./") || source.starts_with("../") ||
         source.starts_with('~') || source == "." || source == "..";
}

// Options that every mount knows. False: not one of them.
bool takeCommonOption(MountRequest& request, std::string_view option) {
  if (option == "ro" || option == "readonly") return request.readOnly = true;
  if (option == "rw") return request.readOnly = false, true;
  if (option == "nocopy") return request.noCopy = true;
  if (option == "noexec") return request.noExec = true;
  if (option == "nosuid") return request.noSuid = true;
  if (option == "nodev") return request.noDev = true;
  if (option == "exec") return request.noExec = false, true;
  if (option == "suid") return request.noSuid = false, true;
  if (option == "dev") return request.noDev = false, true;
  return false;
}

// Labels and consistency levels mean nothing here.
bool isWithoutEffect(std::string_view option) {
  static constexpr std::string_view kKnown[] = {"z", "Z", "cached", "delegated", "consistent", ""};
  return std::find(std::begin(kKnown), std::end(kKnown), option) != std::end(kKnown);
}

bool takePropagation(MountRequest& request, std::string_view value) {
  static constexpr std::string_view kKnown[] = {"private", "rprivate", "slave",
                                                "rslave",  "shared",   "rshared"};
  if (std::find(std::begin(kKnown), std::end(kKnown), value) == std::end(kKnown)) return false;
  request.propagation = value;
  return true;
}

// "a/b": a place below the source, never beside it.
std::string cleanSubpath(const std::string& value, std::string_view spec) {
  std::string path = value;
  while (path.ends_with('/')) path.pop_back();
  bool isBad = path.empty() || path.starts_with('/');
  for (const std::string& part : text::split(path, '/')) isBad = isBad || part == "..";
  if (isBad) throw badSpec("--mount", spec, "the subpath must be a relative path without ..");
  return path;
}

void takeVolumeOptions(MountRequest& request, std::string_view options, std::string_view spec) {
  for (const std::string& option : text::split(options, ',')) {
    if (takeCommonOption(request, option) || takePropagation(request, option)) continue;
    if (isWithoutEffect(option)) continue;
    if (option == "U") {
      request.chown = true;
      continue;
    }
    if (option == "O") {
      request.overlay = true;
      continue;
    }
    throw badSpec("--volume", spec, "unknown option " + text::quote(option));
  }
}

void takeTmpfsOption(MountRequest& request, const std::string& option, std::string_view spec) {
  if (takeCommonOption(request, option)) return;
  const auto [key, value] = splitAssignment(option);
  if (key == "mode" && !value.empty() && value.size() <= 5 &&
      value.find_first_not_of("01234567") == std::string::npos) {
    request.tmpfsOptions += (request.tmpfsOptions.empty() ? "mode=" : ",mode=") + value;
    return;
  }
  const bool isNumber = key == "uid" || key == "gid" || key == "nr_inodes";
  if (isNumber && text::parseUnsigned(value)) {
    request.tmpfsOptions += (request.tmpfsOptions.empty() ? "" : ",") + option;
    return;
  }
  if (key == "size") {
    const bool isShare =
        value.ends_with('%') && text::parseUnsigned(value.substr(0, value.size() - 1));
    const std::string size = isShare ? value : std::to_string(parseSize(value, "--tmpfs size"));
    request.tmpfsOptions += (request.tmpfsOptions.empty() ? "size=" : ",size=") + size;
    return;
  }
  throw badSpec("--tmpfs", spec, "unknown option " + text::quote(option));
}

bool takeMountFlag(MountRequest& request, const std::string& key, const std::string& value) {
  const auto flag = [&]() -> bool* {
    if (key == "ro" || key == "readonly") return &request.readOnly;
    if (key == "volume-nocopy") return &request.noCopy;
    if (key == "bind-nonrecursive") return &request.nonRecursive;
    if (key == "U" || key == "u" || key == "chown") return &request.chown;
    return nullptr;
  }();
  if (flag == nullptr) return false;
  *flag = value.empty() || parseBool(value, "--mount " + key);
  return true;
}

// readwrite=B is the opposite of readonly=B (podman); an image's rw writes to a throw-away layer.
bool takeReadWrite(MountRequest& request, const std::string& key, const std::string& value) {
  if (key != "rw" && key != "readwrite") return false;
  const bool isOn = value.empty() || parseBool(value, "--mount " + key);
  request.readOnly = !isOn;
  request.overlay = isOn && request.type == Type::image;
  return true;
}

bool takeMountKey(MountRequest& request, const std::string& key, const std::string& value) {
  if (key == "type") {
    if (value == "bind") return request.type = Type::bind, true;
    if (value == "volume") return request.type = Type::volume, true;
    if (value == "tmpfs") return request.type = Type::tmpfs, true;
    if (value == "image") return request.type = Type::image, true;
    throw Error::make(Kind::usage, "--mount: unknown mount type {}", text::quote(value))
        .hint("the types are bind, volume, tmpfs and image");
  }
  if (key == "src" || key == "source") return request.source = value, true;
  if (key == "dst" || key == "destination" || key == "target") {
    return request.destination = cleanDestination(value, "--mount destination"), true;
  }
  if (key == "tmpfs-size") return takeTmpfsOption(request, "size=" + value, "tmpfs-size"), true;
  if (key == "tmpfs-mode") return takeTmpfsOption(request, "mode=" + value, "tmpfs-mode"), true;
  if (key == "relabel" || key == "consistency") return true;
  if (key == "bind-propagation") {
    if (takePropagation(request, value)) return true;
    throw badSpec("--mount", value, "unknown propagation");
  }
  if (key == "volume-subpath" || key == "image-subpath" || key == "subpath") {
    return request.subpath = cleanSubpath(value, value), true;
  }
  return takeReadWrite(request, key, value) || takeMountFlag(request, key, value);
}

void checkMount(const MountRequest& request, std::string_view spec) {
  if (request.destination.empty())
    throw badSpec("--mount", spec, "the destination is missing (dst=)");
  if (request.type == Type::bind && request.source.empty()) {
    throw badSpec("--mount", spec, "a bind mount needs a source (src=)");
  }
  if (request.type == Type::image && request.source.empty()) {
    throw badSpec("--mount", spec, "the image is missing (src=)");
  }
  const bool isBind = request.type == Type::bind;
  if (!isBind && (!request.propagation.empty() || request.nonRecursive)) {
    throw badSpec("--mount", spec, "bind-propagation and bind-nonrecursive are for bind mounts");
  }
  if (!request.subpath.empty() && (isBind || request.type == Type::tmpfs)) {
    throw badSpec("--mount", spec, "only a volume or an image has a subpath");
  }
  if (request.type == Type::tmpfs && !request.source.empty()) {
    throw badSpec("--mount", spec, "a tmpfs has no source");
  }
  const bool badName = request.type == Type::volume && !request.source.empty() &&
                       !store::isValidContainerName(request.source);
  if (badName) throw badSpec("--mount", spec, "not a volume name: " + text::quote(request.source));
}

}  // namespace

std::string cleanDestination(std::string_view path, std::string_view what) {
  if (!path.starts_with('/')) {
    throw Error::make(Kind::usage, "{}: {} is not an absolute path", what, text::quote(path));
  }
  std::vector<std::string> parts;
  for (std::string& part : text::split(path, '/')) {
    if (part.empty() || part == ".") continue;
    if (part == "..") {
      if (!parts.empty()) parts.pop_back();
      continue;
    }
    parts.push_back(std::move(part));
  }
  if (parts.empty()) throw Error::make(Kind::usage, "{}: it cannot be \"/\"", what);
  return "/" + text::join(parts, "/");
}

MountRequest parseVolume(std::string_view spec) {
  const std::vector<std::string> parts = text::split(spec, ':');
  if (parts.size() > 3) throw badSpec("--volume", spec, "more than three parts");
  MountRequest request;
  request.option = "volume";
  const std::string& destination = parts.size() == 1 ? parts[0] : parts[1];
  request.destination = cleanDestination(destination, "--volume destination");
  if (parts.size() > 1) {
    request.source = parts[0];
    if (request.source.empty()) throw badSpec("--volume", spec, "the source is empty");
  }
  request.type = isPath(request.source) ? Type::bind : Type::volume;
  const bool isName = request.type == Type::volume && !request.source.empty();
  if (isName && !store::isValidContainerName(request.source)) {
    throw badSpec("--volume", spec,
                  text::quote(request.source) + " is neither a path nor a volume name")
        .hint("a path starts with /, ./, ../ or ~");
  }
  if (parts.size() == 3) {
    request.mode = parts[2];
    takeVolumeOptions(request, parts[2], spec);
  }
  return request;
}

MountRequest parseMount(std::string_view spec) {
  MountRequest request;
  request.option = "mount";
  request.type = Type::volume;  // docker's default
  for (const auto& [key, value] : parseCsvFields(spec, "--mount")) {
    if (takeMountKey(request, key, value)) continue;
    throw badSpec("--mount", spec, "unknown key " + text::quote(key));
  }
  checkMount(request, spec);
  return request;
}

MountRequest parseTmpfs(std::string_view spec) {
  const size_t colon = spec.find(':');
  MountRequest request;
  request.option = "tmpfs";
  request.type = Type::tmpfs;
  request.noExec = request.noSuid = request.noDev = true;
  request.destination = cleanDestination(spec.substr(0, colon), "--tmpfs");
  if (colon == std::string_view::npos) return request;
  request.mode = spec.substr(colon + 1);
  for (const std::string& option : text::split(request.mode, ',')) {
    if (!option.empty()) takeTmpfsOption(request, option, spec);
  }
  return request;
}

std::vector<MountRequest> orderMounts(std::vector<MountRequest> requests) {
  std::vector<MountRequest> kept;
  for (auto request = requests.rbegin(); request != requests.rend(); ++request) {
    const bool known = std::any_of(kept.begin(), kept.end(), [&](const MountRequest& later) {
      return later.destination == request->destination;
    });
    if (!known) kept.push_back(std::move(*request));
  }
  std::reverse(kept.begin(), kept.end());
  const auto depth = [](const MountRequest& request) {
    return std::count(request.destination.begin(), request.destination.end(), '/');
  };
  std::stable_sort(kept.begin(), kept.end(), [&](const MountRequest& a, const MountRequest& b) {
    return depth(a) < depth(b);
  });
  return kept;
}

}  // namespace img::cli
