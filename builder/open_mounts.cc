#include "builder/open_mounts.h"

#include <fcntl.h>
#include <linux/mount.h>
#include <unistd.h>

#include <algorithm>

#include "base/fs.h"
#include "base/log.h"
#include "base/sys.h"
#include "base/text.h"
#include "runtime/mounts.h"

namespace img::builder {
namespace {

using parser::RunMount;
using Type = RunMount::Type;

constexpr unsigned kInert = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV;
constexpr mode_t kSecretMode = 0400, kSshMode = 0600, kExecutable = 0111;

// `name` "": the descriptor itself. Where the user namespace has no such id, nobody in the step has
// it either, and root of it may read everything.
void giveInMemory(int fd, const std::string& name, const RunMount& wanted) {
  try {
    sys::check(
        [&] {
          return ::fchownat(fd, name.c_str(), wanted.uid.value_or(0), wanted.gid.value_or(0),
                            AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW);
        },
        "change the owner of a secret");
  } catch (const Error& error) {
    if (error.errnum() != EINVAL) throw;
    log::info("a secret stays with root: there is no user {} here", wanted.uid.value_or(0));
  }
}

// Memory that is never written to a swap device: tmpfs may be, ramfs is not (security.md S1).
Fd privateMemory() {
  const std::string swaps = fs::tryReadFile(AT_FDCWD, "/proc/swaps").value_or("");
  const bool hasSwap = std::count(swaps.begin(), swaps.end(), '\n') > 1;  // a heading comes first
  std::vector<runtime::MountOption> options{{"mode", "0755"}};
  if (!hasSwap) options.push_back({"source", "img"});
  return runtime::makeMount(hasSwap ? "ramfs" : "tmpfs", 0, options);
}

template <class Item>
const Item* findById(const std::vector<Item>& items, const std::string& id) {
  const auto found =
      std::find_if(items.begin(), items.end(), [&](const Item& item) { return item.id == id; });
  return found == items.end() ? nullptr : &*found;
}

Error missing(const std::string& cause, const std::string& hint) {
  Error error{Kind::failed, cause};
  error.code("secret-missing");
  error.hint(hint);
  return error;
}

class Opener {
 public:
  Opener(Workshop& shop, RunMounts& mounts, OpenMounts& open)
      : shop_(shop), mounts_(mounts), open_(open) {}

  Task<> run(int work) {
    co_await openCaches();
    if (!mounts_.all().empty()) sys::tryMkdirat(work, "mounts", 0700);
    int number = 0;
    for (PlannedMount& planned : mounts_.all()) {
      const std::string name = fmt::format("mounts/{}", number++);
      sys::mkdirat(work, name, 0755);
      add(planned, sys::openDirectory(work, name).get());
    }
    if (firstAgent_ != nullptr) open_.env.emplace_back("SSH_AUTH_SOCK", firstAgent_->target);
  }

 private:
  // In the order of their identities: two steps that lock the same two caches never wait for each
  // other.
  Task<> openCaches() {
    std::map<std::string, PlannedMount*> wanted;
    for (PlannedMount& planned : mounts_.all()) {
      if (planned.mount.type == Type::cache)
        wanted.emplace(mounts_.identityOf(planned).digest().hex(), &planned);
    }
    for (const auto& [identity, planned] : wanted) {
      MountSource* source = planned->source.get();
      std::function<void(int)> fill;
      if (source != nullptr) fill = [source](int folder) { source->copyInto(folder); };
      if (const Digest id = mounts_.identityOf(*planned).digest(); shop_.imports.hasMount(id))
        fill = [this, id, base = fill](int folder) { importInto(folder, id, base); };
      open_.caches.emplace(
          identity, co_await openCache(shop_.events, shop_.layout, mounts_.identityOf(*planned),
                                       planned->mount.sharing, std::move(fill)));
    }
  }

  // In a worker. The first content of a cache is a convenience: without it the step works, too.
  void importInto(int folder, const Digest& identity, const std::function<void(int)>& base) {
    try {
      shop_.imports.fillMount(identity, folder);
    } catch (const Error& error) {
      log::warn("the content of a cache mount was not imported: {}", error.cause());
      for (const fs::Entry& entry : fs::list(folder)) fs::removeTree(folder, entry.name);
      if (base) base(folder);
    }
  }

  void add(PlannedMount& planned, int scratch) {
    std::optional<runtime::Mount> mount;
    bool isFolder = true;
    switch (planned.mount.type) {
      case Type::bind: {
        MountView view = planned.source->view(planned.mount.readOnly, scratch);
        isFolder = view.isFolder;
        mount = std::move(view.mount);
        break;
      }
      case Type::cache: mount = cache(planned); break;
      case Type::tmpfs: mount = tmpfs(planned.mount); break;
      case Type::secret:
        isFolder = false;
        mount = secret(planned);
        break;
      case Type::ssh:
        isFolder = false;
        mount = ssh(planned);
        break;
    }
    if (!mount) return;
    mount->target = planned.target;
    open_.mounts.push_back(std::move(*mount));
    // /dev is a file system of the container's own; what lies below another mount is made there.
    if (!isBelow(planned.target, "/dev") && !mounts_.isBelowAnother(planned.target))
      open_.mountPoints.push_back({planned.target, isFolder});
  }

  runtime::Mount cache(PlannedMount& planned) const {
    const OpenCache& cache = open_.caches.at(mounts_.identityOf(planned).digest().hex());
    runtime::Mount mount;
    const bool hasPart = !planned.source && !planned.mount.source.empty();
    mount.source =
        hasPart ? openInCache(cache.folder.get(), planned.mount.source) : cache.folder.duplicate();
    mount.readOnly = planned.mount.readOnly;
    mount.attributes = MOUNT_ATTR_NODEV;
    return mount;
  }

  static runtime::Mount tmpfs(const RunMount& planned) {
    runtime::Mount mount;
    mount.type = runtime::Mount::Type::tmpfs;
    mount.readOnly = planned.readOnly;
    mount.attributes = kInert;
    mount.tmpfsOptions = "mode=1777";
    if (planned.size != 0) mount.tmpfsOptions += fmt::format(",size={}", planned.size);
    return mount;
  }

  // A file in memory of its own: neither the container nor anybody on the host finds a way to it
  // but this mount.
  [[nodiscard]] std::optional<runtime::Mount> secret(const PlannedMount& planned) const {
    const RunMount& wanted = planned.mount;
    requirePassed(wanted, shop_.scope.request->step);
    const Secret* found = findById(shop_.scope.request->step.secrets, wanted.id);
    const std::string content = found != nullptr ? found->content : "";
    if (!wanted.env.empty()) {
      if (content.find('\0') != std::string::npos) {
        throw Error::make(Kind::failed, "RUN: secret {} has a NUL byte: it cannot be a variable",
                          text::quote(wanted.id));
      }
      open_.env.emplace_back(wanted.env, content);
    }
    if (found == nullptr || planned.target.empty()) return std::nullopt;
    runtime::Mount mount;
    mount.type = runtime::Mount::Type::detached;
    mount.source = privateMemory();
    mount.subpath = "secret";
    mount.readOnly = true;
    const mode_t mode = wanted.mode.value_or(kSecretMode);
    mount.attributes = kInert;
    if ((mode & kExecutable) == 0) mount.attributes |= MOUNT_ATTR_NOEXEC;
    const Fd file = sys::openat(mount.source.get(), "secret", O_WRONLY | O_CREAT | O_EXCL, 0600);
    writeAll(file.get(), content, "a secret");
    giveInMemory(file.get(), "", wanted);
    sys::fchmod(file.get(), mode);
    return mount;
  }

  std::optional<runtime::Mount> ssh(const PlannedMount& planned) {
    const RunMount& wanted = planned.mount;
    requirePassed(wanted, shop_.scope.request->step);
    const SshAgentSource* found = findById(shop_.scope.request->step.agents, wanted.id);
    if (found == nullptr) return std::nullopt;
    std::string agent = found->socket;
    if (!found->keyFiles.empty()) agent = open_.agents.emplace_back(found->keyFiles).socket();
    runtime::Mount mount;
    mount.type = runtime::Mount::Type::detached;
    mount.source = runtime::makeMount("tmpfs", 0, {{"source", "img"}, {"mode", "0755"}});
    mount.subpath = "agent";
    mount.attributes = kInert | MOUNT_ATTR_NOEXEC;
    open_.relays.emplace_back(mount.source.get(), mount.subpath, agent);
    giveInMemory(mount.source.get(), mount.subpath, wanted);
    // A socket is no link, so nothing is followed.
    sys::fchmodat(mount.source.get(), mount.subpath, wanted.mode.value_or(kSshMode));
    if (!firstAgent_ || planned.number < firstAgent_->number) firstAgent_ = &planned;
    return mount;
  }

  Workshop& shop_;
  RunMounts& mounts_;
  OpenMounts& open_;
  const PlannedMount* firstAgent_ = nullptr;  // as written
};

}  // namespace

void requirePassed(const parser::RunMount& mount, const StepOptions& options) {
  if (!mount.required) return;
  const std::string id = text::escape(mount.id);
  if (mount.type == Type::secret && findById(options.secrets, mount.id) == nullptr) {
    throw missing(fmt::format("RUN: secret {} was not passed (--secret id={},...)",
                              text::quote(mount.id), id),
                  fmt::format("pass it with --secret id={},src=FILE", id));
  }
  if (mount.type == Type::ssh && findById(options.agents, mount.id) == nullptr) {
    throw missing(
        fmt::format("RUN: ssh agent {} was not passed (--ssh {})", text::quote(mount.id), id),
        fmt::format("pass an agent with --ssh {} or --ssh {}=SOCKET, or a key with --ssh {}=FILE",
                    id, id, id));
  }
}

Task<> openMounts(Workshop& shop, RunMounts& mounts, int work, OpenMounts& open) {
  co_await mounts.openSources();
  Opener opener{shop, mounts, open};
  co_await opener.run(work);
}

}  // namespace img::builder
