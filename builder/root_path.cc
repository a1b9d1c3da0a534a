#include "builder/root_path.h"

#include <utility>

#include "base/sys.h"
#include "builder/path_walker.h"
#include "store/owners.h"

namespace img::builder {
namespace {

class DiskTree {
 public:
  using Folder = Fd;
  explicit DiskTree(int root) : root_(root) {}

  [[nodiscard]] Fd root() const { return sys::openDirectory(root_, "."); }
  static Fd again(const Fd& folder) { return folder.duplicate(); }
  static std::optional<struct stat> find(const Fd& folder, const std::string& name) {
    return sys::tryFstatat(folder.get(), name);
  }
  static std::string readLink(const Fd& folder, const std::string& name) {
    return sys::readlinkat(folder.get(), name);
  }
  static Fd enter(const Fd& folder, const std::string& name) {
    return sys::openat(folder.get(), name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
  }
  static Fd make(const Fd& folder, const std::string& name, const NewFolder& missing) {
    sys::mkdirat(folder.get(), name, missing.mode & 0777);
    Fd made = enter(folder, name);
    store::giveFile(made.get(), missing.uid, missing.gid);
    sys::fchmod(made.get(), missing.mode);  // mkdirat(2) drops setuid and the umask's bits
    if (missing.mtime) sys::futimens(made.get(), *missing.mtime, *missing.mtime);
    return made;
  }
  [[nodiscard]] std::string pathOf(const Fd& folder, const std::string& name) const {
    const auto link = [](int fd) { return sys::readlinkat(AT_FDCWD, sys::procPath(fd)); };
    const std::string root = link(root_);
    const std::string path = link(folder.get()) + "/" + name;
    return path.substr(root == "/" && !path.starts_with("//") ? 0 : root.size());
  }

 private:
  int root_;
};

}  // namespace

std::string_view typeName(mode_t mode) {
  if (S_ISREG(mode)) return "file";
  if (S_ISDIR(mode)) return "directory";
  if (S_ISLNK(mode)) return "symbolic link";
  if (S_ISFIFO(mode)) return "FIFO";
  if (S_ISSOCK(mode)) return "socket";
  return "device";
}

bool isSpecial(mode_t mode) {
  return !S_ISREG(mode) && !S_ISDIR(mode) && !S_ISLNK(mode);
}

Place resolvePlace(int root, const std::string& path, const NewFolder& missing) {
  DiskTree tree{root};
  auto place = PathWalker<DiskTree>{tree, path, missing}.toLast();
  return {std::move(place.parent), std::move(place.name), place.st};
}

Fd makeFolders(int root, const std::string& path, const NewFolder& missing) {
  DiskTree tree{root};
  return makeFoldersIn(tree, path, missing);
}

}  // namespace img::builder
