#include "cli/container_namespaces.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <linux/mount.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <limits>

#include "base/error.h"
#include "base/fs.h"
#include "base/sys.h"
#include "base/text.h"
#include "builder/step_devices.h"
#include "cli/container_control.h"
#include "cli/container_spec.h"
#include "cli/namespace_options.h"
#include "runtime/mounts.h"
#include "runtime/namespaces.h"
#include "runtime/user_namespace.h"

namespace img::cli {
namespace {

using From = runtime::Namespace::From;

store::ContainerRecord otherContainer(const store::Layout& layout, const std::string& name) {
  return store::Containers{layout}.get(name);
}

// Its first process, and a handle that tells whether the number is still that one's.
struct Other {
  store::ContainerRecord record;
  Fd process;
};

Other openOther(const store::Layout& layout, const std::string& mode, const std::string& name) {
  Other other{otherContainer(layout, *joinedContainer(mode)), {}};
  auto process = openProcess(other.record.state);
  if (!process) {
    throw Error::make(Kind::failed,
                      "cannot join the {} namespace of container {}: it is not running", name,
                      other.record.config.name)
        .hint(fmt::format("start it first: img start {}", other.record.config.name));
  }
  other.process = std::move(*process);
  return other;
}

void checkAlive(const Other& other) {
  if (!waitForProcess(other.process, 0)) return;
  throw Error::make(Kind::failed, "container {} has just ended", other.record.config.name);
}

// The host's, as its own processes share memory with those of the container.
Fd cloneHostSharedMemory() {
  const auto folder = sys::tryOpenat(AT_FDCWD, "/dev/shm", O_PATH | O_DIRECTORY);
  if (!folder || sys::fstatfs(folder->get(), "/dev/shm").f_type != TMPFS_MAGIC) return {};
  return runtime::cloneMount(folder->get(), "");
}

void makeInert(const Fd& tree) {
  constexpr unsigned kInert = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC | MOUNT_ATTR_NODEV;
  sys::mountSetattr(tree.get(), "", 0, kInert, 0, MS_PRIVATE);
}

constexpr std::uint32_t kAllIds = std::numeric_limits<std::uint32_t>::max();

// `id` inside is 0 here, everybody else is there as far as the ids reach: those below it are moved
// up by one.
std::vector<runtime::IdRange> keptMap(std::uint32_t id, std::uint64_t count) {
  std::vector<runtime::IdRange> map{{id, 0, 1}};
  const auto below = static_cast<std::uint32_t>(std::min<std::uint64_t>(id, count - 1));
  if (below > 0) map.push_back({0, 1, below});
  if (id + std::uint64_t{1} < count) {
    map.push_back({id + 1, id + 1, static_cast<std::uint32_t>(count - id - 1)});
  }
  return map;
}

// Which id of the machine root is in the namespace that this process is in.
std::uint32_t callersId(const runtime::IdMap& map) {
  const auto root =
      std::find_if(map.begin(), map.end(), [](const auto& line) { return line.inside == 0; });
  return root == map.end() ? 0 : root->outside;
}

Error onlyForUsers(const std::string& mode) {
  return Error::make(Kind::usage, "--userns {} is for ordinary users", text::escape(mode))
      .hint("as root: --userns auto, or --uidmap and --gidmap");
}

runtime::UserNamespace keptIds(const UserMode& mode, const std::string& text) {
  runtime::UserNamespace user;
  if (!runtime::isInitialUserNamespace()) {
    const runtime::IdMap uids = runtime::currentUidMap();
    const runtime::IdMap gids = runtime::currentGidMap();
    user.uids = keptMap(mode.uid.value_or(callersId(uids)), contiguousIds(uids));
    user.gids = keptMap(mode.gid.value_or(callersId(gids)), contiguousIds(gids));
    return user;
  }
  if (mode.uid || mode.gid) throw onlyForUsers(text);
  user.uids = user.gids = {{0, 0, kAllIds}};  // root keeps all of them
  return user;
}

runtime::UserNamespace idsWithoutCallers(const std::string& text) {
  if (runtime::isInitialUserNamespace()) throw onlyForUsers(text);
  const auto uids = contiguousIds(runtime::currentUidMap());
  const auto gids = contiguousIds(runtime::currentGidMap());
  if (uids < 2 || gids < 2) {
    throw Error{Kind::unsupported, "--userns nomap: this user has no ids but its own"}.hint(
        "give it ranges in /etc/subuid and /etc/subgid");
  }
  runtime::UserNamespace user;
  user.uids = {{0, 1, static_cast<std::uint32_t>(uids - 1)}};
  user.gids = {{0, 1, static_cast<std::uint32_t>(gids - 1)}};
  return user;
}

}  // namespace

runtime::UserNamespace ownIds(const store::NamespaceRecord& names) {
  const UserMode mode = userModeOf(names);
  if (mode.kind == UserMode::Kind::mapped) return mappedIds(names);
  if (mode.kind == UserMode::Kind::keepId) return keptIds(mode, names.user);
  if (mode.kind == UserMode::Kind::noMap) return idsWithoutCallers(names.user);
  return {};
}

ContainerNamespaces::ContainerNamespaces(const store::Layout& layout,
                                         const store::ContainerConfig& config,
                                         const std::string& runRoot)
    : config_(config) {
  const store::NamespaceRecord& names = config.namespaces;
  pid_ = open(layout, names.pid, "pid");
  uts_ = open(layout, names.uts, "uts");
  cgroup_.from = names.cgroup == "host" ? From::host : From::own;
  openIpc(layout);
  openUser(layout, runRoot);
}

runtime::Namespace ContainerNamespaces::open(const store::Layout& layout, const std::string& mode,
                                             const std::string& name) {
  if (mode == "host") return {From::host, -1};
  if (!joinedContainer(mode)) return {};
  const Other other = openOther(layout, mode, name);
  opened_.push_back(runtime::openNamespace(other.record.state.pid, name));
  checkAlive(other);
  return {From::other, opened_.back().get()};
}

void ContainerNamespaces::openIpc(const store::Layout& layout) {
  const std::string& mode = config_.namespaces.ipc;
  if (const auto name = joinedContainer(mode)) {
    const Other other = openOther(layout, mode, "ipc");
    const std::string& theirs = other.record.config.namespaces.ipc;
    if (!theirs.empty() && theirs != "shareable") {
      throw Error::make(Kind::failed, "cannot join the ipc namespace of container {}: it is {}",
                        other.record.config.name, theirs)
          .hint("start that container with --ipc shareable");
    }
    ipc_ = open(layout, mode, "ipc");
    sharedMemory_ = runtime::cloneSharedMemory(other.record.state.pid);
    checkAlive(other);
  } else {
    ipc_ = open(layout, mode, "ipc");
    if (mode == "host") sharedMemory_ = cloneHostSharedMemory();
  }
  if (sharedMemory_) makeInert(sharedMemory_);
}

void ContainerNamespaces::openUser(const store::Layout& layout, const std::string& runRoot) {
  const UserMode mode = userModeOf(config_.namespaces);
  const bool isRoot = runtime::isInitialUserNamespace();
  switch (mode.kind) {
    case UserMode::Kind::host: return;
    case UserMode::Kind::automatic: {
      if (!isRoot) {
        throw Error{Kind::unsupported, "--userns auto needs root"}.hint(
            "containers of an ordinary user have a user namespace anyway; --uidmap gives one fewer "
            "ids");
      }
      const auto read = [](const char* path) {
        return fs::tryReadFile(AT_FDCWD, path).value_or("");
      };
      range_ =
          leaseUserRange(runRoot, idPool(read("/etc/subuid"), read("/etc/subgid")), config_.id);
      user_.uids = {{0, range_->uid, mode.size}};
      user_.gids = {{0, range_->gid, mode.size}};
      hasOtherIds_ = true;
      return;
    }
    case UserMode::Kind::mapped:
    case UserMode::Kind::keepId:
    case UserMode::Kind::noMap:
      user_ = ownIds(config_.namespaces);
      hasOtherIds_ = mode.kind == UserMode::Kind::mapped || !isRoot;
      return;
    case UserMode::Kind::container: {
      const Other other = openOther(layout, config_.namespaces.user, "user");
      const pid_t pid = other.record.state.pid;
      if (!runtime::isOtherNamespace(pid, "user")) return;  // it has none of its own
      if (!isRoot) {
        throw Error{Kind::unsupported,
                    "only root can run a container in the user namespace of another"}
            .code("idmap")
            .hint("the same --userns or --uidmap gives both the same ids");
      }
      opened_.push_back(runtime::openNamespace(pid, "user"));
      checkAlive(other);
      user_.fd = opened_.back().get();
      hasOtherIds_ = true;
    }
  }
}

void ContainerNamespaces::prepare(runtime::Spec& spec) const {
  spec.pid = pid_;
  spec.ipc = ipc_;
  spec.uts = uts_;
  spec.cgroup = cgroup_;
  spec.userNamespace = user_;
  // With one id there is nothing that files could be given to: all are that one's.
  const auto hasOneId = [] { return contiguousIds(runtime::currentUidMap()) == 1; };
  if (!hasOtherIds_ || hasOneId()) spec.mountMappedRootfs = nullptr;
  spec.hasSharedMemory = config_.namespaces.ipc != "none";
  if (sharedMemory_) spec.sharedMemory = sharedMemory_.get();
  spec.monotonicOffset = config_.namespaces.monotonicOffset;
  spec.boottimeOffset = config_.namespaces.boottimeOffset;
  spec.domainname = config_.domainname;
  spec.sysctls = config_.sysctls;
  if (config_.limits.oomScoreAdj) {
    spec.oomScoreAdj = static_cast<int>(*config_.limits.oomScoreAdj);
  }
  addDevices(config_, spec);
}

void settleNamespaces(const store::Layout& layout, store::ContainerConfig& config) {
  store::NamespaceRecord& names = config.namespaces;
  for (std::string* mode : {&names.pid, &names.ipc, &names.uts, &names.user}) {
    if (const auto name = joinedContainer(*mode)) {
      *mode = "container:" + otherContainer(layout, *name).config.id;
    }
  }
  // With its own id inside, a user's command runs under it (podman-run(1), --userns keep-id).
  const UserMode user = userModeOf(names);
  if (user.kind == UserMode::Kind::keepId && config.user.empty() &&
      !runtime::isInitialUserNamespace()) {
    config.user = fmt::format("{}:{}", user.uid.value_or(callersId(runtime::currentUidMap())),
                              user.gid.value_or(callersId(runtime::currentGidMap())));
  }
  if (const auto other = joinedContainer(names.uts)) {
    config.hostname = hostnameOf(otherContainer(layout, *other).config);
  }
}

namespace {

runtime::DeviceNode nodeFrom(const struct stat& st, std::string path) {
  runtime::DeviceNode node;
  node.path = std::move(path);
  node.type = st.st_mode & (S_IFMT | 07777);
  node.device = st.st_rdev;
  node.uid = st.st_uid;
  node.gid = st.st_gid;
  return node;
}

void addFolder(int folder, const std::string& path, int depth, runtime::Spec& spec) {
  constexpr int kDeepest = 8;
  if (depth > kDeepest) return;
  for (const fs::Entry& entry : fs::listSorted(folder)) {
    const std::string inner = path + "/" + entry.name;
    if (entry.type == DT_CHR || entry.type == DT_BLK) {
      const auto st = sys::tryFstatat(folder, entry.name);
      if (st) spec.devices.push_back(nodeFrom(*st, inner));
    } else if (entry.type == DT_DIR) {
      const auto next = sys::tryOpenat(folder, entry.name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
      if (next) addFolder(next->get(), inner, depth + 1, spec);
    }
  }
}

}  // namespace

void addDevices(const store::ContainerConfig& config, runtime::Spec& spec) {
  for (const store::DeviceRecord& device : config.devices) {
    if (device.destination.empty()) {
      builder::addCdiDevice(spec, {device.source, true}, builder::cdiFolders());
      continue;
    }
    const auto handle = sys::tryOpenat(AT_FDCWD, device.source, O_PATH);
    if (!handle) {
      throw Error::make(Kind::notFound, "--device: there is no {} on this machine",
                        text::quote(device.source));
    }
    const struct stat st = sys::fstat(handle->get());
    if (S_ISDIR(st.st_mode)) {
      addFolder(sys::openDirectory(handle->get(), ".").get(), device.destination, 0, spec);
    } else if (S_ISCHR(st.st_mode) || S_ISBLK(st.st_mode)) {
      spec.devices.push_back(nodeFrom(st, device.destination));
      if (!device.access.empty()) spec.devices.back().access = device.access;
    } else {
      throw Error::make(Kind::failed, "--device: {} is not a device", text::quote(device.source));
    }
  }
}

}  // namespace img::cli
