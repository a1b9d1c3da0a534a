#include "cli/container_mounts.h"

#include <algorithm>
#include <filesystem>

#include "base/environment.h"
#include "base/error.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/sys.h"
#include "base/text.h"
#include "cli/mount_owner.h"
#include "runtime/security.h"
#include "store/images.h"
#include "store/layers.h"
#include "store/overlay.h"
#include "store/tree_copy.h"
#include "store/volumes.h"

namespace img::cli {
namespace {

using Type = MountRequest::Type;

// The image as the container will see it, read-only, attached nowhere.
Fd mountImage(const store::Layout& layout, const store::ContainerConfig& config) {
  const store::Layers layers{layout};
  std::vector<Fd> open;
  store::OverlaySpec spec;
  for (auto diffId = config.diffIds.rbegin(); diffId != config.diffIds.rend(); ++diffId) {
    open.push_back(layers.open(*diffId));
    spec.lowers.push_back(open.back().get());
  }
  // A union of one is that one; overlayfs wants at least two without an upper.
  if (open.size() == 1) return std::move(open.front());
  return store::mountOverlay(spec);
}

void fillFromImage(const store::Layout& layout, const store::ContainerConfig& config,
                   const std::string& destination, int data) {
  if (config.diffIds.empty()) return;
  const Fd image = mountImage(layout, config);
  const auto found = sys::tryOpenInRoot(image.get(), destination, O_RDONLY | O_DIRECTORY);
  if (found) store::copyTree(found->get(), data);
}

bool isUsedByAnother(const store::Layout& layout, const std::string& volume,
                     const std::string& id) {
  const std::vector<store::ContainerRecord> records = store::Containers{layout}.list();
  return std::any_of(records.begin(), records.end(), [&](const store::ContainerRecord& record) {
    const auto& mounts = record.config.mounts;
    return record.config.id != id &&
           std::any_of(mounts.begin(), mounts.end(),
                       [&](const store::MountRecord& mount) { return mount.name == volume; });
  });
}

bool hasMountOn(const std::vector<store::MountRecord>& mounts, const std::string& destination) {
  return std::any_of(mounts.begin(), mounts.end(), [&](const store::MountRecord& mount) {
    return mount.destination == destination;
  });
}

store::MountRecord toRecord(const MountRequest& request) {
  store::MountRecord record;
  record.destination = request.destination;
  record.mode = request.mode;
  record.readOnly = request.readOnly;
  record.noExec = request.noExec;
  record.noSuid = request.noSuid;
  record.noDev = request.noDev;
  record.tmpfsOptions = request.tmpfsOptions;
  record.subpath = request.subpath;
  record.propagation = request.propagation;
  record.nonRecursive = request.nonRecursive;
  record.overlay = request.overlay;
  record.option = request.option;
  return record;
}

// U: all of the source belongs to the container's user, as the image knows him.
void giveToUser(const store::Layout& layout, const store::ContainerConfig& config,
                const Fd& source) {
  runtime::Identity user;
  if (!config.diffIds.empty()) {
    user = runtime::resolveUser(mountImage(layout, config).get(), config.user, {});
  }
  giveMountSource(source, user.uid, user.gid);
}

// An image that is mounted: found by its name now, and by its id when the container starts.
void settleImage(const store::Layout& layout, const MountRequest& request,
                 store::MountRecord& record) {
  record.type = "image";
  record.source = request.source;
  record.image = store::Images{layout}.get(request.source).id.str();
  record.readOnly = !request.overlay;
}

// The volume itself is made when the container's record names it: whoever is killed in between
// leaves nothing that nobody knows of.
void nameVolume(const store::Layout& layout, const MountRequest& request,
                store::MountRecord& record) {
  record.type = "volume";
  record.anonymous = request.source.empty();
  record.name = record.anonymous ? fs::randomHex(64) : request.source;
  record.source = store::Volumes{layout}.mountpointOf(record.name);
}

std::string absoluteHostPath(const std::string& path) {
  std::string full = path;
  if (path == "~" || path.starts_with("~/")) {
    const auto home = findVariable("HOME");
    if (!home) throw Error::make(Kind::usage, "{}: HOME is not set", text::quote(path));
    full = *home + path.substr(1);
  } else if (!path.starts_with('/')) {
    full = std::filesystem::current_path().string() + "/" + path;
  }
  full = std::filesystem::path{full}.lexically_normal().string();
  while (full.size() > 1 && full.ends_with('/')) full.pop_back();
  return full;
}

}  // namespace

std::vector<MountRequest> mountRequests(const RunRequest& request, const store::ImageConfig& image,
                                        const std::vector<store::MountRecord>& inherited) {
  std::vector<MountRequest> requests;
  for (const auto& [path, unused] : image.volumes) {
    MountRequest volume;
    volume.type = Type::volume;
    // Stored verbatim in the image, relative ones too (dockerfile.md 3.15).
    volume.destination =
        cleanDestination(path.starts_with('/') ? path : "/" + path, "VOLUME of the image");
    if (!hasMountOn(inherited, volume.destination)) requests.push_back(std::move(volume));
  }
  for (const std::string& spec : request.volumes) requests.push_back(parseVolume(spec));
  for (const std::string& spec : request.mounts) requests.push_back(parseMount(spec));
  for (const std::string& spec : request.tmpfs) requests.push_back(parseTmpfs(spec));
  if (request.readOnly && request.readOnlyTmpfs) {
    for (const char* path : {"/run", "/tmp", "/var/tmp"}) {
      const bool isTaken = std::any_of(requests.begin(), requests.end(), [&](const auto& known) {
        return known.destination == path;
      });
      if (!isTaken) requests.push_back(parseTmpfs(std::string{path} + ":mode=1777"));
    }
  }
  return orderMounts(std::move(requests));
}

std::string resolveHostPath(const std::string& path) {
  std::string full = absoluteHostPath(path);
  if (sys::tryFstatat(AT_FDCWD, full)) return full;
  throw Error::make(Kind::notFound, "the mount source {} does not exist", text::quote(full))
      .hint("create it first, or give a volume name instead of a path");
}

void createMountSources(const RunRequest& request) {
  for (const std::string& spec : request.volumes) {
    const MountRequest mount = parseVolume(spec);
    if (mount.type != Type::bind) continue;
    const std::string path = absoluteHostPath(mount.source);
    for (size_t end = path.find('/', 1);; end = path.find('/', end + 1)) {
      sys::tryMkdirat(AT_FDCWD, path.substr(0, end), 0755);
      if (end == std::string::npos) break;
    }
  }
}

std::vector<store::MountRecord> settleMounts(const store::Layout& layout,
                                             const std::vector<MountRequest>& requests) {
  std::vector<store::MountRecord> records;
  for (const MountRequest& request : requests) {
    store::MountRecord& record = records.emplace_back(toRecord(request));
    if (request.type == Type::tmpfs) record.type = "tmpfs";
    if (request.type == Type::bind) {
      record.type = "bind";
      record.source = resolveHostPath(request.source);
    }
    if (request.type == Type::image) settleImage(layout, request, record);
    if (request.type == Type::volume) nameVolume(layout, request, record);
  }
  return records;
}

bool wantsVolumes(const std::vector<MountRequest>& requests) {
  return std::any_of(requests.begin(), requests.end(),
                     [](const MountRequest& request) { return request.type == Type::volume; });
}

void makeVolumes(const store::Layout& layout, const std::vector<MountRequest>& requests,
                 const store::ContainerConfig& config) {
  const store::Volumes volumes{layout};
  const std::vector<store::MountRecord>& records = config.mounts;
  for (size_t i = 0; i < requests.size(); ++i) {
    const MountRequest& request = requests[i];
    if (request.type != Type::volume) continue;
    store::Volumes::Fill fill;
    if (!request.noCopy) {
      fill = [&](int data) { fillFromImage(layout, config, request.destination, data); };
    }
    volumes.prepare(records[i].name, fill, records[i].anonymous);
  }
  for (size_t i = 0; i < requests.size(); ++i) {
    if (!requests[i].chown) continue;
    giveToUser(layout, config,
               records[i].type == "volume" ? volumes.openData(records[i].name)
                                           : sys::openat(AT_FDCWD, records[i].source, O_PATH));
  }
}

void addVolumesFrom(const store::Layout& layout, const std::vector<std::string>& containers,
                    std::vector<store::MountRecord>& mounts) {
  for (const std::string& spec : containers) {
    const size_t colon = spec.find(':');
    const std::string mode = colon == std::string::npos ? "" : spec.substr(colon + 1);
    if (mode != "" && mode != "ro" && mode != "rw" && mode != "z" && mode != "Z") {
      throw Error::make(Kind::usage, "--volumes-from {}: unknown option", text::quote(spec));
    }
    const store::ContainerRecord from = store::Containers{layout}.get(spec.substr(0, colon));
    for (store::MountRecord mount : from.config.mounts) {
      if (mount.type != "volume" && mount.type != "bind") continue;
      mount.readOnly = mount.readOnly || mode == "ro";
      mount.option.clear();
      addMissing({std::move(mount)}, mounts);
    }
  }
}

void addMissing(std::vector<store::MountRecord> more, std::vector<store::MountRecord>& mounts) {
  for (store::MountRecord& mount : more) {
    if (!hasMountOn(mounts, mount.destination)) mounts.push_back(std::move(mount));
  }
}

void removeAnonymousVolumes(const store::Layout& layout, const store::ContainerConfig& config) {
  for (const store::MountRecord& mount : config.mounts) {
    if (mount.type != "volume" || !mount.anonymous) continue;
    if (isUsedByAnother(layout, mount.name, config.id)) continue;
    try {
      store::Volumes{layout}.remove(mount.name);
    } catch (const Error& error) {
      if (error.kind() != Kind::notFound) log::warn("volume {}: {}", mount.name, error.cause());
    }
  }
}

}  // namespace img::cli
