#include "builder/root_path.h"

#include <deque>
#include <vector>

#include "base/sys.h"
#include "base/text.h"
#include "store/owners.h"

namespace img::builder {
namespace {

constexpr int kMaxLinks = 40;  // path_resolution(7)

class Walker {
 public:
  Walker(int root, const std::string& path, const NewFolder& missing)
      : path_(path), missing_(missing) {
    folders_.push_back(sys::openDirectory(root, "."));
    push(path);
  }

  // Walks to the last component; the place may be missing there.
  Place toLast() {
    while (!names_.empty()) {
      const std::string name = std::move(names_.front());
      names_.pop_front();
      if (name.empty() || name == ".") continue;
      if (name == "..") {
        if (folders_.size() > 1) folders_.pop_back();
        continue;
      }
      const auto st = sys::tryFstatat(top(), name);
      if (st && S_ISLNK(st->st_mode)) {
        follow(sys::readlinkat(top(), name));
      } else if (isLast()) {
        return Place{folders_.back().duplicate(), name, st};
      } else {
        enter(name, st);
      }
    }
    // The path ended in "/", "." or "..": the place is the folder itself.
    Place place{folders_.back().duplicate(), ".", {}};
    place.st = sys::fstat(place.parent.get());
    return place;
  }

  void enter(const std::string& name, const std::optional<struct stat>& st) {
    if (!st) {
      sys::mkdirat(top(), name, missing_.mode & 0777);
      Fd made = sys::openat(top(), name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
      store::giveFile(made.get(), missing_.uid, missing_.gid);
      sys::fchmod(made.get(), missing_.mode);  // mkdirat(2) drops setuid and the umask's bits
      if (missing_.mtime) sys::futimens(made.get(), *missing_.mtime, *missing_.mtime);
      folders_.push_back(std::move(made));
      return;
    }
    if (!S_ISDIR(st->st_mode)) {
      throw Error::make(Kind::failed, "{} exists and is not a directory (it is a {})",
                        text::escape(below(name), 500), typeName(st->st_mode));
    }
    folders_.push_back(sys::openat(top(), name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
  }

  Fd takeTop() { return std::move(folders_.back()); }

 private:
  [[nodiscard]] int top() const { return folders_.back().get(); }
  // The path of `name` in the folder reached so far, seen from the root.
  [[nodiscard]] std::string below(const std::string& name) const {
    const auto link = [](const Fd& fd) {
      return sys::readlinkat(AT_FDCWD, sys::procPath(fd.get()));
    };
    const std::string root = link(folders_.front());
    const std::string path = link(folders_.back()) + "/" + name;
    return path.substr(root == "/" && !path.starts_with("//") ? 0 : root.size());
  }
  [[nodiscard]] bool isLast() const {
    for (const std::string& name : names_) {
      if (!name.empty() && name != ".") return false;
    }
    return true;
  }
  void push(const std::string& path) {
    const std::vector<std::string> parts = text::split(path, '/');
    names_.insert(names_.begin(), parts.begin(), parts.end());
  }
  void follow(const std::string& target) {
    if (++links_ > kMaxLinks)
      throw Error::make(Kind::failed, "{}: too many symbolic links", text::escape(path_));
    if (target.starts_with('/')) folders_.erase(folders_.begin() + 1, folders_.end());
    push(target);
  }

  const std::string& path_;
  const NewFolder& missing_;
  std::vector<Fd> folders_;  // from the root to where we are
  std::deque<std::string> names_;
  int links_ = 0;
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
  return Walker{root, path, missing}.toLast();
}

Fd makeFolders(int root, const std::string& path, const NewFolder& missing) {
  Walker walker{root, path, missing};
  const Place place = walker.toLast();
  if (place.name == ".") return walker.takeTop();
  walker.enter(place.name, place.st);
  return walker.takeTop();
}

}  // namespace img::builder
