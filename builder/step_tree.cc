#include "builder/step_tree.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>

#include "base/fs.h"
#include "base/log.h"
#include "base/sys.h"
#include "base/text.h"
#include "builder/open_mounts.h"
#include "runtime/chroot_run.h"
#include "store/owners.h"
#include "store/tree_copy.h"

namespace img::builder {
namespace {

using Type = parser::RunMount::Type;

constexpr mode_t kSecretMode = 0400;

Error impossible(const std::string& what, const char* why) {
  return Error::make(Kind::unsupported, "RUN: {} is not possible with isolation chroot", what)
      .why(why)
      .hint("build where mounts and namespaces are allowed; `img doctor` shows what is missing");
}

// Everything in one folder into another one of the same file system, which gets its owner and mode.
void moveContent(int from, int to) {
  for (const fs::Entry& entry : fs::list(from)) sys::renameat(from, entry.name, to, entry.name);
  struct stat st = sys::fstat(from);
  if (store::recordsOwners()) store::applyOwner(from, st);
  store::giveFile(to, st.st_uid, st.st_gid);
  sys::fchmod(to, st.st_mode & 07777);
}

}  // namespace

void requireNoMounts(const RunSettings& settings, const StepOptions& options) {
  if (settings.network == "none")
    throw impossible("network none", "there is no network namespace; the caller's is shared");
  if (settings.isInsecure)
    throw impossible("--security=insecure", "the step has no more rights than its caller");
  if (!settings.devices.empty() || !options.devices.empty())
    throw impossible("a device", "devices are mounted");
  if (!options.volumes.empty()) throw impossible("--volume", "volumes are mounted");
  for (const PlannedMount& planned : settings.mounts->all()) {
    if (planned.mount.type == Type::ssh)
      throw impossible("--mount=type=ssh", "its socket is mounted");
  }
}

StepTree::StepTree(Workshop& shop, RunSettings& settings, const WorkTree& tree)
    : shop_(shop),
      settings_(settings),
      covers_(tree.root.get(), sys::openDirectory(tree.work.fd(), "aside")) {}

StepTree::~StepTree() {
  try {
    returnCaches();
  } catch (const Error& error) {
    log::warn("a cache mount is lost: {}", error.cause());
  }
}

Task<> StepTree::open(const std::vector<std::pair<std::string, std::string>>& files) {
  for (const char* folder : {"/proc", "/sys"}) covers_.coverWithFolder(folder, 0555);
  const int devices = covers_.coverWithFolder("/dev", 0755);
  runtime::fillDevices(devices);
  if (!settings_.command.script.empty()) {
    const std::string path{kScriptPath};
    sys::mkdirat(devices, "pipes", 0755);
    covers_.coverWithFile(path, settings_.command.script, 0755);
  }
  for (const auto& [path, text] : files) covers_.coverWithFile(path, text, 0644);
  co_await settings_.mounts->openSources();
  for (PlannedMount& planned : settings_.mounts->all()) co_await addMount(planned);
}

Task<> StepTree::addMount(PlannedMount& planned) {
  switch (planned.mount.type) {
    case Type::bind: co_await addFiles(planned); break;
    case Type::cache: co_await addCache(planned); break;
    case Type::tmpfs: covers_.coverWithFolder(planned.target, 01777); break;
    case Type::secret: addSecret(planned); break;
    case Type::ssh: break;  // requireNoMounts()
  }
}

Task<> StepTree::addFiles(PlannedMount& planned) {
  const TreeCovers::Spot spot = covers_.cover(planned.target);
  co_await runWorker(shop_.events, [&] {
    ::umask(0);
    planned.source->copyAs(spot.folder, spot.name);
    return std::string{};
  });
}

// Moved, not copied: a cache may be large. A build that is killed meanwhile loses it.
Task<> StepTree::addCache(PlannedMount& planned) {
  using Sharing = parser::RunMount::Sharing;
  const CacheIdentity identity = settings_.mounts->identityOf(planned);
  MountSource* const source = planned.source.get();
  std::function<void(int)> fill;
  if (source != nullptr) fill = [source](int folder) { source->copyInto(folder); };
  // Only one step can have it at a time.
  const bool isPrivate = planned.mount.sharing == Sharing::exclusive;
  Lent lent;
  lent.cache = co_await openCache(shop_.events, shop_.layout, identity,
                                  isPrivate ? Sharing::exclusive : Sharing::locked, fill);
  const int cache = lent.cache.folder.get();
  const bool hasPart = source == nullptr && !planned.mount.source.empty();
  const Fd part = hasPart ? openInCache(cache, planned.mount.source) : Fd{};
  lent.from = sys::openDirectory(hasPart ? part.get() : cache, ".");
  lent.to = sys::openDirectory(covers_.coverWithFolder(planned.target, 0755), ".");
  if (planned.mount.readOnly) {
    const int from = lent.from.get();
    const int to = lent.to.get();
    co_await runWorker(shop_.events, [from, to] {
      store::copyTree(from, to);
      return std::string{};
    });
    lent.from.reset();
  } else {
    moveContent(lent.from.get(), lent.to.get());
  }
  caches_.push_back(std::move(lent));
}

// On the disk of the store for as long as the step runs: there is no memory file system.
void StepTree::addSecret(const PlannedMount& planned) {
  const parser::RunMount& wanted = planned.mount;
  const StepOptions& options = shop_.scope.request->step;
  requirePassed(wanted, options);
  const auto found = std::find_if(options.secrets.begin(), options.secrets.end(),
                                  [&](const Secret& secret) { return secret.id == wanted.id; });
  const std::string content = found == options.secrets.end() ? "" : found->content;
  if (!wanted.env.empty()) env_.emplace_back(wanted.env, content);
  if (found == options.secrets.end() || planned.target.empty()) return;
  covers_.coverWithFile(planned.target, content, 0);
  const TreeCovers::Spot spot = covers_.last();
  const Fd file = sys::openat(spot.folder, spot.name, O_RDONLY | O_NOFOLLOW);
  store::giveFile(file.get(), wanted.uid.value_or(0), wanted.gid.value_or(0));
  sys::fchmod(file.get(), wanted.mode.value_or(kSecretMode));
}

void StepTree::returnCaches() {
  std::vector<Lent> lent = std::move(caches_);
  caches_.clear();
  for (auto cache = lent.rbegin(); cache != lent.rend(); ++cache) {
    if (cache->from) moveContent(cache->to.get(), cache->from.get());
  }
}

void StepTree::close() {
  returnCaches();
  covers_.restore();
}

}  // namespace img::builder
