#include "store/rootfs.h"

#include <algorithm>
#include <deque>
#include <optional>
#include <set>
#include <string>

#include "base/error.h"
#include "base/fs.h"
#include "base/sys.h"
#include "base/text.h"
#include "store/overlay.h"
#include "store/owners.h"
#include "store/tree_copy.h"

namespace img::store {
namespace {

struct Stub {
  const char* path;
  bool isFolder;
};
constexpr Stub kStubs[] = {{"proc", true},          {"sys", true},
                           {"dev", true},           {"etc/hosts", false},
                           {"etc/hostname", false}, {"etc/resolv.conf", false}};

constexpr int kMaxLinks = 40;  // path_resolution(7)

using Path = std::deque<std::string>;

Path splitPath(std::string_view path) {
  Path parts;
  for (std::string& part : text::split(path, '/')) {
    if (!part.empty() && part != ".") parts.push_back(std::move(part));
  }
  return parts;
}

// Where a path of the image leads when its symbolic links are followed inside the tree, also when
// the end of it is not there (a dangling /etc/resolv.conf is common).
struct Resolved {
  std::string path;  // no links in it
  std::optional<struct stat> st;
};

std::optional<struct stat> statInTree(int root, const std::string& path) {
  const auto fd = sys::tryOpenInRoot(root, path, O_PATH | O_NOFOLLOW);
  if (!fd) return std::nullopt;
  return sys::fstat(fd->get());
}

std::string readLinkInTree(int root, const std::string& path) {
  const Fd link = sys::openInRoot(root, path, O_PATH | O_NOFOLLOW);
  return sys::readlinkat(link.get(), "");  // readlinkat(2): the link that the descriptor is
}

Resolved resolveInTree(int root, std::string_view path) {
  Path rest = splitPath(path);
  std::vector<std::string> done;
  Resolved result;
  int links = 0;
  while (!rest.empty()) {
    std::string part = std::move(rest.front());
    rest.pop_front();
    if (part == "..") {
      if (!done.empty()) done.pop_back();
      continue;
    }
    done.push_back(std::move(part));
    result.st = statInTree(root, text::join(done, "/"));
    if (result.st && !rest.empty() && S_ISREG(result.st->st_mode)) {
      throw Error::make(Kind::corrupt, "`/{}` in the image is not a folder", text::join(done, "/"));
    }
    if (!result.st || !S_ISLNK(result.st->st_mode)) continue;
    if (++links > kMaxLinks) {
      throw Error::make(Kind::corrupt, "`/{}` in the image is a loop of symbolic links", path);
    }
    const std::string target = readLinkInTree(root, text::join(done, "/"));
    done.pop_back();
    if (target.starts_with('/')) done.clear();
    Path parts = splitPath(target);
    rest.insert(rest.begin(), parts.begin(), parts.end());
  }
  result.path = text::join(done, "/");
  if (!result.path.empty()) result.st = statInTree(root, result.path);
  return result;
}

// security.md N: the runtime mounts /proc, /sys and /dev, and never through a link of the image.
void checkFolderStub(int root, const Stub& stub) {
  const auto st = statInTree(root, stub.path);
  if (!st || S_ISDIR(st->st_mode)) return;
  throw Error::make(Kind::corrupt, "`/{}` in the image is {}", stub.path,
                    S_ISLNK(st->st_mode) ? "a symbolic link" : "not a folder");
}

// The folder that most stubs lie in, opened once. A symbolic link at its place has no names below.
class StubLooker {
 public:
  explicit StubLooker(int root)
      : root_(root), etc_(sys::tryOpenInRoot(root, std::string{kFolder}, O_PATH | O_NOFOLLOW)) {}

  // The stub is there, and no symbolic link leads to it: as in nearly every image.
  [[nodiscard]] bool isPlain(const Stub& stub) const {
    std::string_view name = stub.path;
    const bool isBelow = name.starts_with(kFolder) && name.substr(kFolder.size()).starts_with('/');
    if (isBelow && !etc_) return false;
    if (isBelow) name.remove_prefix(kFolder.size() + 1);
    const auto st = sys::tryFstatat(isBelow ? etc_->get() : root_, std::string{name});
    return st && (stub.isFolder ? S_ISDIR(st->st_mode) : S_ISREG(st->st_mode));
  }

 private:
  static constexpr std::string_view kFolder = "etc";
  int root_;
  std::optional<Fd> etc_;
};

// The stubs that the tree lacks, as paths without links.
std::vector<std::pair<std::string, bool>> missingStubs(int root,
                                                       const std::vector<MountPoint>& mountPoints) {
  std::vector<std::pair<std::string, bool>> missing;
  const StubLooker looker{root};
  for (const Stub& stub : kStubs) {
    if (looker.isPlain(stub)) continue;
    if (stub.isFolder) checkFolderStub(root, stub);
    const Resolved found = resolveInTree(root, stub.path);
    if (!found.st) {
      missing.emplace_back(found.path, stub.isFolder);
    } else if (!stub.isFolder && S_ISDIR(found.st->st_mode)) {
      throw Error::make(Kind::corrupt, "`/{}` in the image is a folder", stub.path);
    }
  }
  // What is there and of another type is for the mount itself to refuse.
  for (const MountPoint& point : mountPoints) {
    const Resolved found = resolveInTree(root, point.path);
    if (!found.st) missing.emplace_back(found.path, point.isFolder);
  }
  return missing;
}

std::vector<std::string> parentsOf(const std::string& path) {
  std::vector<std::string> parents;
  for (size_t slash = path.find('/'); slash != std::string::npos;
       slash = path.find('/', slash + 1)) {
    parents.push_back(path.substr(0, slash));
  }
  return parents;
}

void createFolder(int root, const std::string& path) {
  if (!sys::tryMkdirat(root, path, 0755)) return;
  sys::fchmod(sys::openBeneath(root, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW).get(), 0755);
}

// Below `root`, which is ours (the init folder) or in which `path` was found to have no links.
// Modes are set whatever the umask is.
void createStub(int root, const std::string& path, bool isFolder) {
  for (const std::string& parent : parentsOf(path)) createFolder(root, parent);
  if (isFolder) return createFolder(root, path);
  Fd file = sys::openBeneath(root, path, O_WRONLY | O_CREAT | O_NOFOLLOW, 0644);
  sys::fchmod(file.get(), 0644);
  file.close(path);
}

// The init layer lies over the image, so the folders that both have show the init layer's metadata:
// they get the image's.
void copyFolderMetadata(int view, int init, const std::string& path) {
  const auto from = sys::tryOpenInRoot(view, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
  if (!from) return;
  const Fd to = sys::openBeneath(init, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
  struct stat st = sys::fstat(from->get());
  if (recordsOwners()) applyOwner(from->get(), st);
  copyMetadata(from->get(), to.get(), st);
}

void fillInit(int view, int init, const std::vector<std::pair<std::string, bool>>& stubs) {
  std::set<std::string> folders{"."};
  for (const auto& [path, isFolder] : stubs) {
    createStub(init, path, isFolder);
    for (std::string& parent : parentsOf(path)) folders.insert(std::move(parent));
    if (isFolder) folders.insert(path);
  }
  // After all creations, which change the times of the folders.
  for (const std::string& folder : folders) copyFolderMetadata(view, init, folder);
}

// What the container will see below its upper, read-only: a mount that is cheap to drop, while
// dropping one with an upper would sync it, and leave its mark in the work folder when volatile.
Fd openView(const RootfsSpec& spec) {
  if (spec.layers.empty()) return sys::openDirectory(spec.init, ".");
  OverlaySpec view{
      .lowers = {}, .upper = -1, .work = -1, .isVolatile = false, .userXattr = spec.userXattr};
  view.lowers = spec.layers;
  // overlayfs wants two lowers when there is no upper. At the bottom the init folder changes no
  // metadata of the image.
  if (spec.layers.size() == 1 && spec.init >= 0) view.lowers.push_back(spec.init);
  return mountOverlay(view);
}

bool isEmpty(int folder) {
  return fs::list(sys::openDirectory(folder, ".").get()).empty();
}

Fd mountFull(const RootfsSpec& spec, bool withInit) {
  OverlaySpec full{.lowers = {},
                   .upper = spec.upper,
                   .work = spec.work,
                   .isVolatile = spec.isVolatile,
                   .userXattr = spec.userXattr,
                   .mapping = spec.mapping};
  if (withInit) full.lowers.push_back(spec.init);
  full.lowers.insert(full.lowers.end(), spec.layers.begin(), spec.layers.end());
  return mountOverlay(full);
}

// Whiteouts in the upper (a container that removed its /etc/hosts) hide the init layer: the stub is
// then made in the upper, where the container removed it.
void createHidden(int root, const RootfsSpec& spec) {
  for (const auto& [path, isFolder] : missingStubs(root, spec.mountPoints)) {
    if (spec.upper < 0)
      throw Error::make(Kind::internal, "`/{}` is missing in the root file system", path);
    createStub(root, path, isFolder);
  }
}

// Through the mapped union nobody but the namespace can make a file: another one with the same
// upper, gone before the real one, makes what is missing. An upper without names hides nothing.
void createHiddenUnmapped(RootfsSpec spec, bool withInit) {
  if (spec.upper < 0 || isEmpty(spec.upper)) return;
  spec.mapping = {};
  spec.isVolatile = false;
  createHidden(mountFull(spec, withInit).get(), spec);
}

// Most images have every stub: one mount is enough. Only where dropping it again costs nothing: an
// upper that is not volatile would be synced.
std::optional<Fd> tryMountComplete(const RootfsSpec& spec, bool isFilled) {
  if (spec.layers.empty() || (spec.upper >= 0 && !spec.isVolatile)) return std::nullopt;
  Fd root = mountFull(spec, isFilled);
  if (missingStubs(root.get(), spec.mountPoints).empty()) return root;
  root.reset();
  // The kernel refuses a work folder that a volatile mount has marked (overlayfs.rst, "Volatile
  // mount"). Nothing was written through ours.
  if (spec.work >= 0) fs::removeTree(sys::openDirectory(spec.work, ".").get(), "work");
  return std::nullopt;
}

// True when the init layer is needed.
bool prepareInit(const RootfsSpec& spec) {
  const Fd view = openView(spec);
  const auto missing = missingStubs(view.get(), spec.mountPoints);
  if (missing.empty()) return false;
  if (spec.init < 0) {
    throw Error::make(Kind::corrupt, "the image has no `/{}`", missing.front().first);
  }
  fillInit(view.get(), spec.init, missing);
  return true;
}

}  // namespace

std::string pathInTree(int root, std::string_view path) {
  return resolveInTree(root, path).path;
}

Fd mountRootfs(const RootfsSpec& spec) try {
  if (spec.init < 0 && spec.layers.empty()) {
    throw Error{Kind::internal, "an empty image needs an init layer"};
  }
  const bool wasFilled = spec.init >= 0 && !isEmpty(spec.init);
  if (auto root = tryMountComplete(spec, wasFilled)) return std::move(*root);
  const bool isFilled = prepareInit(spec) || wasFilled;
  // From here on every stub is in the image or in the init layer.
  const bool withInit = isFilled || spec.layers.empty();
  if (spec.mapping.isUsed()) {
    createHiddenUnmapped(spec, withInit);
    return mountFull(spec, withInit);
  }
  Fd root = mountFull(spec, withInit);
  createHidden(root.get(), spec);
  return root;
} catch (Error& error) {
  error.during("setting up the root file system");
  throw;
}

}  // namespace img::store
