#include "builder/host_view.h"

#include <dirent.h>
#include <sched.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <optional>
#include <string>

#include "base/fs.h"
#include "base/log.h"
#include "base/process.h"
#include "base/sys.h"
#include "builder/content_digest.h"
#include "builder/folder_destination.h"
#include "runtime/mounts.h"
#include "store/overlay.h"
#include "store/owners.h"

namespace img::builder {
namespace {

Fd makeFolder(int dir, const char* name) {
  sys::mkdirat(dir, name, 0755);
  return sys::openDirectory(dir, name);
}

// What a walk over the folder tells.
struct Survey {
  std::vector<std::string> hidden;  // the topmost paths that are not shown
  uid_t uid = 0;
  gid_t gid = 0;
  bool hasOneOwner = true;
};

class Surveyor {
 public:
  explicit Surveyor(const SourceFilter& filter) : filter_(filter) {}

  Survey run(int source, const std::string& contextPath) {
    const Fd folder = sys::openDirectory(source, ".");
    const struct stat st = sys::fstat(folder.get());
    survey_.uid = st.st_uid;
    survey_.gid = st.st_gid;
    walk(folder.get(), {contextPath.empty() ? "" : contextPath + "/", ""},
         filter_.root(contextPath));
    return std::move(survey_);
  }

 private:
  struct Where {
    std::string contextPath, path;  // with a trailing '/' unless empty
  };

  // True when something below is shown.
  bool walk(int dir, const Where& where, const SourceFilter::State& state) {
    bool isAny = false;
    for (const fs::Entry& entry : fs::list(dir)) {
      const auto st = sys::tryFstatat(dir, entry.name);
      if (!st) continue;  // removed while we looked
      const bool isShown = visit(dir, entry.name, *st, where, state);
      if (isShown) compareOwner(*st);
      if (!isShown) survey_.hidden.push_back(where.path + entry.name);
      isAny = isAny || isShown;
    }
    return isAny;
  }

  bool visit(int dir, const std::string& name, const struct stat& st, const Where& where,
             const SourceFilter::State& state) {
    const std::string path = where.path + name;
    const std::string contextPath = where.contextPath + name;
    const bool isFolder = S_ISDIR(st.st_mode);
    const SourceFilter::Step step = filter_.enter(state, contextPath, path, isFolder);
    if (!isFolder) {
      const bool isPlain = S_ISREG(st.st_mode) || S_ISLNK(st.st_mode);
      return isPlain && step.verdict == SourceFilter::Verdict::take;
    }
    if (step.verdict == SourceFilter::Verdict::skip) return false;
    const size_t before = survey_.hidden.size();
    const Fd sub = sys::openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
    const bool isAny = walk(sub.get(), {contextPath + "/", path + "/"}, step.state);
    const bool isShown = isAny || step.verdict == SourceFilter::Verdict::take;
    // A folder that goes as a whole needs no whiteouts in it.
    if (!isShown) survey_.hidden.resize(before);
    return isShown;
  }

  void compareOwner(const struct stat& st) {
    if (st.st_uid != survey_.uid || st.st_gid != survey_.gid) survey_.hasOneOwner = false;
  }

  const SourceFilter& filter_;
  Survey survey_;
};

// Folders of the hiding layer cover those below them, so they carry the same metadata.
void copyMetadata(int source, int layer, const std::string& path) {
  const Fd from = sys::openBeneath(source, path, O_RDONLY | O_DIRECTORY);
  const Fd to = sys::openBeneath(layer, path, O_RDONLY | O_DIRECTORY);
  const struct stat st = sys::fstat(from.get());
  sys::fchmod(to.get(), st.st_mode & 07777);
  for (const std::string& name : sys::flistxattr(from.get())) {
    if (!isCopiedXattr(name)) continue;
    if (const auto value = sys::fgetxattr(from.get(), name)) sys::fsetxattr(to.get(), name, *value);
  }
  sys::futimens(to.get(), st.st_atim, st.st_mtim);
}

void fillHidingLayer(int source, int layer, const std::vector<std::string>& hidden) {
  std::vector<std::string> folders{"."};
  for (const std::string& path : hidden) {
    for (size_t slash = path.find('/'); slash != std::string::npos;
         slash = path.find('/', slash + 1)) {
      std::string parent = path.substr(0, slash);
      if (sys::tryMkdirat(layer, parent, 0755)) folders.push_back(std::move(parent));
    }
    sys::mknodat(layer, path, S_IFCHR, makedev(0, 0));  // overlayfs.rst, "whiteouts"
  }
  // After everything is there: making a name changes the times of its folder.
  for (auto path = folders.rbegin(); path != folders.rend(); ++path)
    copyMetadata(source, layer, *path);
}

// A user namespace in which the owner of the files is root outside: what an ID-mapped mount wants.
Fd ownerNamespace(uid_t uid, gid_t gid) {
  Pipe ready = Pipe::make();
  const Child child = Child::fork([&] {
    sys::unshare(CLONE_NEWUSER);
    writeAll(ready.write.get(), "r", "a pipe");
    for (;;) ::pause();  // killed by the handle
    return std::string{};
  });
  ready.write.reset();
  std::byte answer{};
  if (readFull(ready.read.get(), {&answer, 1}, "a pipe") != 1) {
    throw Error{Kind::unsupported, "cannot make a user namespace"};
  }
  const std::string proc = fmt::format("/proc/{}/", child.pid());
  const auto write = [&](const char* file, unsigned id) {
    writeAll(sys::openat(AT_FDCWD, proc + file, O_WRONLY).get(), fmt::format("{} 0 1", id), file);
  };
  write("uid_map", uid);
  write("gid_map", gid);
  return sys::openat(AT_FDCWD, proc + "ns/user", O_RDONLY);
}

Fd cloneForRoot(int folder, uid_t uid, gid_t gid) {
  Fd clone = runtime::cloneMount(folder, "");
  sys::mountSetattrIdmap(clone.get(), ownerNamespace(uid, gid).get());
  return clone;
}

}  // namespace

Fd mountThrowAway(std::vector<int> lowers, const struct stat& root, int scratch) {
  const Fd upper = makeFolder(scratch, "upper");
  const Fd work = makeFolder(scratch, "work");
  store::giveFile(upper.get(), root.st_uid, root.st_gid);
  sys::fchmod(upper.get(), root.st_mode & 07777);
  sys::futimens(upper.get(), root.st_atim, root.st_mtim);
  store::OverlaySpec spec;
  spec.lowers = std::move(lowers);
  spec.upper = upper.get();
  spec.work = work.get();
  spec.isVolatile = true;
  return store::mountOverlay(spec);
}

runtime::Mount HostView::open(bool isReadOnly) {
  const struct stat st = sys::fstat(source_.handle);
  if (S_ISDIR(st.st_mode)) return folder(isReadOnly);
  if (!isReadOnly || st.st_uid != 0 || st.st_gid != 0) return copyOfFile();
  runtime::Mount mount;
  mount.source = sys::openat(AT_FDCWD, sys::procPath(source_.handle), O_PATH);
  return mount;
}

runtime::Mount HostView::copyOfFile() const {
  const CopyOptions options;
  FolderDestination target{scratch_};
  TreeCopier{target, options}.copy(source_, "/file", filter_);
  runtime::Mount mount;
  mount.source = sys::openat(scratch_, "file", O_PATH | O_NOFOLLOW);
  return mount;
}

runtime::Mount HostView::copyOfFolder() const {
  const CopyOptions options;
  FolderDestination target{scratch_};
  TreeCopier{target, options}.copy(source_, "/copy/", filter_);
  const Fd from = sys::openDirectory(source_.handle, ".");
  runtime::Mount mount;
  mount.source = sys::openDirectory(scratch_, "copy");
  const struct stat st = sys::fstat(from.get());
  sys::fchmod(mount.source.get(), st.st_mode & 07777);
  sys::futimens(mount.source.get(), st.st_atim, st.st_mtim);
  return mount;
}

runtime::Mount HostView::folder(bool isReadOnly) {
  const Survey survey = Surveyor{filter_}.run(source_.handle, source_.contextPath);
  const bool isOfRoot = survey.uid == 0 && survey.gid == 0;
  if (!mayUnite || !survey.hasOneOwner) return copyOfFolder();
  if (isReadOnly && isOfRoot && survey.hidden.empty()) {
    runtime::Mount mount;
    mount.source = sys::openat(AT_FDCWD, sys::procPath(source_.handle), O_PATH);
    return mount;
  }
  const Fd hiding = makeFolder(scratch_, "hiding");
  if (!survey.hidden.empty()) fillHidingLayer(source_.handle, hiding.get(), survey.hidden);
  try {
    return united(isReadOnly, survey.hidden.empty() ? -1 : hiding.get(), {survey.uid, survey.gid});
  } catch (const Error& error) {
    log::debug("a folder is copied for a mount: {}", error.cause());
    fs::removeTree(scratch_, "upper");
    fs::removeTree(scratch_, "work");
  }
  return copyOfFolder();
}

runtime::Mount HostView::united(bool isReadOnly, int hiding, const Owner& owner) const {
  runtime::Mount mount;
  mount.type = runtime::Mount::Type::detached;
  Fd mapped;
  if (owner.uid != 0 || owner.gid != 0) mapped = cloneForRoot(source_.handle, owner.uid, owner.gid);
  const int folder = mapped ? mapped.get() : source_.handle;
  std::vector<int> lowers;
  if (hiding >= 0) lowers.push_back(hiding);
  lowers.push_back(folder);
  if (!isReadOnly) {
    struct stat root = sys::fstat(folder);
    root.st_uid = root.st_gid = 0;
    mount.source = mountThrowAway(std::move(lowers), root, scratch_);
  } else if (hiding >= 0) {
    store::OverlaySpec spec;
    spec.lowers = std::move(lowers);
    mount.source = store::mountOverlay(spec);
  } else {
    mount.source = std::move(mapped);
  }
  return mount;
}

}  // namespace img::builder
