#include "cli/mount_sources.h"

#include <linux/mount.h>
#include <sys/mount.h>

#include "base/error.h"
#include "base/fs.h"
#include "base/sys.h"
#include "base/text.h"
#include "store/images.h"
#include "store/layers.h"
#include "store/overlay.h"
#include "store/volumes.h"

namespace img::cli {
namespace {

constexpr char kThrowAway[] = "throwaway";

Fd openBindSource(const std::string& path) {
  try {
    return sys::openat(AT_FDCWD, path, O_PATH);
  } catch (Error& error) {
    if (error.errnum() != ENOENT) throw;
    throw Error::make(Kind::notFound, "the mount source {} does not exist", text::quote(path))
        .hint(fmt::format("create it first, or give a volume name instead of a path"));
  }
}

Fd openSubpath(Fd folder, const store::MountRecord& record) {
  if (record.subpath.empty()) return folder;
  // Inside the volume, whatever links a container has left there.
  auto found = sys::tryOpenInRoot(folder.get(), record.subpath, O_PATH);
  if (found) return std::move(*found);
  throw Error::make(Kind::notFound, "volume {} has no {}", record.name,
                    text::quote(record.subpath));
}

// MS_PRIVATE unless the caller wants to see mounts come and go; 0 leaves a shared source shared.
std::uint64_t propagationOf(const std::string& name) {
  if (name == "slave" || name == "rslave") return MS_SLAVE;
  if (name == "shared" || name == "rshared") return 0;
  return MS_PRIVATE;
}

// `lowers` under an empty layer in the container's folder.
Fd mountThrowAway(const store::Layout& layout, const store::ContainerConfig& config,
                  const store::MountRecord& record, std::vector<int> lowers) {
  const Fd folder = store::Containers{layout}.folder(config.id);
  // Named by the place: a record has no two mounts on one.
  Hasher hasher;
  hasher.field(record.destination);
  const std::string name = std::string{kThrowAway} + "/" + hasher.finish().hex().substr(0, 16);
  fs::removeTree(folder.get(), name);
  const Fd home = fs::makeDirs(folder.get(), name, 0700);
  sys::mkdirat(home.get(), "upper", 0755);
  sys::mkdirat(home.get(), "work", 0755);
  const Fd upper = sys::openDirectory(home.get(), "upper");
  const Fd work = sys::openDirectory(home.get(), "work");
  const struct stat st = sys::fstat(lowers.front());
  sys::fchown(upper.get(), st.st_uid, st.st_gid);
  sys::fchmod(upper.get(), st.st_mode & 07777);
  return store::mountOverlay(
      {.lowers = std::move(lowers), .upper = upper.get(), .work = work.get(), .isVolatile = true});
}

// The files of an image, read-only unless a throw-away layer lies over them.
Fd mountImage(const store::Layout& layout, const store::ContainerConfig& config,
              const store::MountRecord& record) {
  const store::Image image = store::Images{layout}.get(record.image);
  const store::Layers layers{layout};
  layers.ensureAll(image.config.diffIds, image.manifest.layers);
  std::vector<Fd> open;
  std::vector<int> lowers;
  const auto& diffIds = image.config.diffIds;
  for (auto diffId = diffIds.rbegin(); diffId != diffIds.rend(); ++diffId) {
    open.push_back(layers.open(*diffId));
    lowers.push_back(open.back().get());
  }
  if (lowers.empty()) {
    throw Error::make(Kind::failed, "image {} has no files to mount", record.source);
  }
  if (record.overlay) return mountThrowAway(layout, config, record, std::move(lowers));
  return store::mountOverlay({.lowers = std::move(lowers)});
}

void openTmpfs(runtime::Mount& mount, const std::string& options) {
  mount.type = runtime::Mount::Type::tmpfs;
  mount.tmpfsOptions = options;
}

void openVolume(const store::Layout& layout, const store::MountRecord& record,
                runtime::Mount& mount) {
  const store::Volumes volumes{layout};
  const auto volume = volumes.find(record.name);
  if (volume) {
    const auto option = [&](const char* key) {
      const auto found = volume->options.find(key);
      return found == volume->options.end() ? std::string{} : found->second;
    };
    if (option("type") == "tmpfs") return openTmpfs(mount, option("o"));
  }
  mount.source = openSubpath(volumes.openData(record.name), record);
}

}  // namespace

runtime::Mount openMount(const store::Layout& layout, const store::ContainerConfig& config,
                         const store::MountRecord& record) {
  runtime::Mount mount;
  mount.target = record.destination;
  mount.readOnly = record.readOnly;
  mount.isRecursive = !record.nonRecursive;
  mount.propagation = propagationOf(record.propagation);
  if (record.noExec) mount.attributes |= MOUNT_ATTR_NOEXEC;
  if (record.noSuid) mount.attributes |= MOUNT_ATTR_NOSUID;
  if (record.noDev) mount.attributes |= MOUNT_ATTR_NODEV;
  if (record.type == "tmpfs") {
    openTmpfs(mount, record.tmpfsOptions);
  } else if (record.type == "image") {
    mount.type = runtime::Mount::Type::detached;
    mount.source = mountImage(layout, config, record);
    mount.subpath = record.subpath;
    mount.readOnly = !record.overlay;
  } else if (record.type == "volume") {
    openVolume(layout, record, mount);
  } else {
    mount.source = openBindSource(record.source);
  }
  const bool isLayered = record.overlay && mount.type == runtime::Mount::Type::bind;
  if (isLayered) {
    const Fd lower = sys::openDirectory(mount.source.get(), ".");
    mount.type = runtime::Mount::Type::detached;
    mount.source = mountThrowAway(layout, config, record, {lower.get()});
  }
  return mount;
}

std::vector<runtime::Mount> openMounts(const store::Layout& layout,
                                       const store::ContainerConfig& config) {
  std::vector<runtime::Mount> mounts;
  for (const store::MountRecord& record : config.mounts) {
    mounts.push_back(openMount(layout, config, record));
  }
  return mounts;
}

}  // namespace img::cli
