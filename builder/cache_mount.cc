#include "builder/cache_mount.h"

#include <sys/file.h>

#include <tuple>

#include "base/fs.h"
#include "base/sys.h"
#include "base/text.h"
#include "builder/layer_step.h"
#include "builder/root_path.h"
#include "store/owners.h"

namespace img::builder {
namespace {

using Sharing = parser::RunMount::Sharing;

CacheLock openLock(int caches, int number) {
  return CacheLock{sys::openat(caches, fmt::format("{}.lock", number), O_RDWR | O_CREAT, 0600)};
}

// A lock belongs to the open file (flock(2)): one that a worker waits for is ours as well.
Task<> lock(Events& events, int file, bool isExclusive) {
  if (sys::tryFlock(file, isExclusive)) co_return;
  co_await runWorker(events, [file, isExclusive] {
    sys::check([&] { return ::flock(file, isExclusive ? LOCK_EX : LOCK_SH); },
               "wait for a cache mount");
    return std::string{};
  });
}

Fd newFolder(const CacheIdentity& identity, int dir, const std::string& name) {
  sys::mkdirat(dir, name, 0700);
  Fd folder = sys::openDirectory(dir, name);
  store::giveFile(folder.get(), identity.uid.value_or(0), identity.gid.value_or(0));
  sys::fchmod(folder.get(), identity.mode.value_or(0755));
  return folder;
}

}  // namespace

CacheLock::~CacheLock() {
  if (file_) ::flock(file_.get(), LOCK_UN);
}

Digest CacheIdentity::digest() const {
  Hasher hasher;
  hasher.field("cache-mount-1");
  hasher.field(nameSpace);
  hasher.field(id);
  hasher.field(base);
  if (mode || uid || gid) {
    hasher.field(std::uint64_t{mode.value_or(0755)});
    hasher.field(std::uint64_t{uid.value_or(0)});
    hasher.field(std::uint64_t{gid.value_or(0)});
  }
  return hasher.finish();
}

Task<OpenCache> openCache(Events& events, const store::Layout& layout, CacheIdentity identity,
                          Sharing sharing, std::function<void(int folder)> fill) {
  const std::string path = "cache/mounts/" + identity.digest().hex();
  const Fd caches = fs::makeDirs(layout.fd(), path, 0700);
  OpenCache open;
  int number = 0;
  if (sharing == Sharing::exclusive) {
    // The first one that nobody uses; names beyond the last one are new.
    for (open.lock = openLock(caches.get(), number); !sys::tryFlock(open.lock.file(), true);)
      open.lock = openLock(caches.get(), ++number);
  } else {
    open.lock = openLock(caches.get(), number);
    co_await lock(events, open.lock.file(), sharing == Sharing::locked);
  }
  const std::string name = std::to_string(number);
  if (!sys::tryFstatat(caches.get(), name)) {
    // Filled where it is litter as long as it is not whole.
    const store::IngestDir work{layout};
    const Fd folder = newFolder(identity, work.fd(), name);
    if (fill) {
      co_await runWorker(events, [&] {
        fill(folder.get());
        return std::string{};
      });
    }
    // Another one that shares it may have been faster; ours then goes with `work`.
    std::ignore = sys::renameNoReplace(work.fd(), name, caches.get(), name);
  }
  open.folder = sys::openat(caches.get(), name, O_PATH | O_DIRECTORY | O_NOFOLLOW);
  co_return open;
}

Fd openInCache(int cache, const std::string& path) {
  try {
    const Fd made = makeFolders(cache, path, NewFolder{});
    return sys::openat(made.get(), ".", O_PATH | O_DIRECTORY);
  } catch (Error& error) {
    error.prefixCause(fmt::format("mount source {} in the cache: ", text::quote(path)));
    throw;
  }
}

}  // namespace img::builder
